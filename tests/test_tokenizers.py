"""Tokenizers: round trips, deterministic and cached training, and pretrained files as transformers reads them."""

from __future__ import annotations

import json
import random
import re
import shutil
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine
from tokenizers.processors import TemplateProcessing
from transformers import BartTokenizer, GPT2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from bench.errors import BenchError
from bench.specs import EncoderSpec, TokenizerSpec
from bench.tokenizers import (
    LONGEST_WORD,
    Tokenizer,
    _byte_letters,
    build_encoder_tokenizer,
    build_tokenizer,
    load_tokenizer,
)

CORPUS = ("the cat sat on the mat .", "the dog sat on the log .", "Größe, 冬 and\tthe rest\n") * 5
SENTENCES = (
    "The cat's mat isn't 3,000 years old!",
    "  two  spaces,\nnew lines\tand tabs ",
    "naïve café, Größe, Żółw, 冬の朝 🐢🏳️‍🌈",
    "",
    "<eos> and <pad>",
)
SPEC = TokenizerSpec(vocabulary_size=290)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELLA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def gpt2_files(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A folder in GPT-2's format: vocab.json without the suite's special tokens, and merges.txt."""
    folder = tmp_path / "micro"
    folder.mkdir()
    (folder / "whole.json").write_bytes(tokenizer.to_bytes())
    model = json.loads((folder / "whole.json").read_text())["model"]
    words = [word for word in model["vocab"] if word not in ("<pad>", "<bos>", "<eos>")]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"]), ""]))
    (folder / "whole.json").unlink()
    return folder


def inner(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text between BOS and EOS."""
    (ids,) = tokenizer.encode([text])
    assert (ids[0], ids[-1]) == (tokenizer.bos, tokenizer.eos)
    return ids[1:-1]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(), max_size=4))
def test_decode_inverts_encode(tokenizer: Tokenizer, some: list[str]) -> None:
    ids = tokenizer.encode(some)
    assert tokenizer.decode(ids) == some
    special = {tokenizer.pad, tokenizer.bos, tokenizer.eos}
    assert not special & {token for text in some for token in inner(tokenizer, text)}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(), min_size=1, max_size=4), st.data())
def test_pieces_spell_what_the_decoder_says(tokenizer: Tokenizer, some: list[str], data: st.DataObject) -> None:
    """Also of texts whose pieces stand in the wrong text, or of other pieces."""
    ids = tokenizer.encode(some)
    assert tokenizer._spell(some, ids)
    changed = data.draw(st.sampled_from(ids))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, len(tokenizer) - 1))
    assert tokenizer._spell(some, ids) == (tokenizer.decode(ids) == some)
    moved = [[*ids[0], *ids[-1]], *ids[1:-1], []] if len(ids) > 1 else ids
    assert tokenizer._spell(some, moved) == (tokenizer.decode(moved) == some)


def test_letters_of_bytes_are_those_of_transformers() -> None:
    assert _byte_letters() == {letter: byte for byte, letter in bytes_to_unicode().items()}


@pytest.mark.parametrize("text", ["<eos>", "a<bos>b", " <pad> <eos> <bos>", "<eos", "</s><|endoftext|>"])
def test_the_spelling_of_a_special_token_is_ordinary_text(tokenizer: Tokenizer, text: str) -> None:
    assert len(inner(tokenizer, text)) > 1
    assert tokenizer.decode(tokenizer.encode([text])) == [text]


def test_decoded_texts_contain_no_special_tokens(tokenizer: Tokenizer) -> None:
    special = [tokenizer.pad, tokenizer.bos, tokenizer.eos]
    assert len(set(special)) == 3
    assert max(special) < len(tokenizer) == 300
    assert tokenizer.decode([special * 2, [special[0], *inner(tokenizer, "cat"), special[2]]]) == ["", "cat"]


def test_training_is_deterministic_and_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_tokenizer(SPEC, CORPUS)
    (entry,) = cache.iterdir()
    shutil.rmtree(entry)
    trained_anew = build_tokenizer(SPEC, CORPUS)
    with monkeypatch.context() as patch:
        patch.setattr(trainers, "BpeTrainer", None)
        again = build_tokenizer(SPEC, CORPUS)
    assert first.digest == again.digest == trained_anew.digest
    assert first.encode(SENTENCES) == again.encode(SENTENCES) == trained_anew.encode(SENTENCES)
    assert first.name == f"bpe290@{first.digest[:6]}"


def test_training_gives_the_same_ids_on_every_machine(cache: Path) -> None:
    tokenizer = build_tokenizer(SPEC, CORPUS)
    assert inner(tokenizer, "the cat sat on the mat .") == [260, 281, 268, 267, 266, 284, 265]


@pytest.mark.parametrize(
    ("size", "corpus"), [(280, CORPUS), (290, CORPUS[:-1]), (290, (*CORPUS[:-1], "the rest\n")), (290, CORPUS[::-1])]
)
def test_different_texts_or_sizes_are_trained_again(cache: Path, size: int, corpus: tuple[str, ...]) -> None:
    build_tokenizer(SPEC, CORPUS)
    build_tokenizer(TokenizerSpec(vocabulary_size=size), corpus)
    assert len(list(cache.iterdir())) == 2


def test_time_of_training_is_linear_in_the_longest_word(cache: Path) -> None:
    """Its square was 60 seconds here, and words of usual length train the same tokenizer as before."""
    word = "".join(random.Random(0).choices(string.ascii_letters, k=500_000))
    start = time.process_time()
    build_tokenizer(TokenizerSpec(vocabulary_size=1000), [word])
    build_encoder_tokenizer(EncoderSpec(vocabulary_size=1000), [word])
    assert time.process_time() - start < 10


def test_words_up_to_a_length_train_as_they_always_did(cache: Path) -> None:
    texts = [*CORPUS, "ab" * (LONGEST_WORD // 2), "é" * (LONGEST_WORD // 2)]
    engine = byte_level(model=models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        show_progress=False,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    engine.train_from_iterator(texts, trainer)
    assert build_tokenizer(SPEC, texts).digest == Tokenizer(engine, "bpe").digest


def test_save_and_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    loaded = load_tokenizer(tmp_path)
    assert (loaded.digest, loaded.name) == (tokenizer.digest, tokenizer.name)
    assert loaded.encode(SENTENCES) == tokenizer.encode(SENTENCES)
    built = build_tokenizer(TokenizerSpec(kind="folder", path=tmp_path), ())
    assert built.digest == tokenizer.digest


def test_files_in_the_format_of_gpt2_equal_transformers(gpt2_files: Path) -> None:
    ours, theirs = load_tokenizer(gpt2_files), transformers_tokenizer(gpt2_files)
    assert len(ours) == len(json.loads((gpt2_files / "vocab.json").read_text())) + 3
    assert (ours.pad, ours.bos, ours.eos) == tuple(range(len(ours) - 3, len(ours)))
    assert re.fullmatch(r"micro300@[0-9a-f]{6}", ours.name)
    for text in SENTENCES:
        assert inner(ours, text) == theirs(text)
    assert ours.decode(ours.encode(SENTENCES)) == list(SENTENCES)


@pytest.mark.real_data
def test_gpt2_equals_transformers(real_data: Path) -> None:
    folder = real_data.parent / "tokenizers" / "gpt2"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    ours, theirs = load_tokenizer(folder), transformers_tokenizer(folder)
    assert len(ours) == 50257 + 1
    assert ours.bos == ours.eos == 50256
    for text in SENTENCES:
        assert inner(ours, text) == theirs(text)


def transformers_tokenizer(folder: Path) -> Callable[[str], list[int]]:
    tokenizer = GPT2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def test_limits_and_templates_of_a_pretrained_tokenizer_are_removed(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Files are often saved with truncation, padding, and a template that adds special tokens."""
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    engine = Engine.from_file(str(tmp_path / "tokenizer.json"))
    engine.enable_truncation(4)
    engine.enable_padding(length=50)
    engine.post_processor = TemplateProcessing("<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    engine.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode(SENTENCES) == tokenizer.encode(SENTENCES)


def test_special_tokens_of_a_pretrained_tokenizer_are_ordinary_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    engine = Engine.from_file(str(tmp_path / "tokenizer.json"))
    engine.add_special_tokens(["<|endoftext|>"])
    engine.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert len(loaded) == len(tokenizer) + 1
    assert loaded.decode(loaded.encode(["a <|endoftext|> b"])) == ["a <|endoftext|> b"]


def letters(lacking: str = "") -> dict[str, int]:
    return {
        letter: number for number, letter in enumerate(sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(lacking)))
    }


def byte_level(**parts: Any) -> Engine:
    """A byte-level BPE without merges, and with other parts."""
    engine = Engine(models.BPE(vocab=letters(), merges=[]))
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    for name, part in parts.items():
        setattr(engine, name, part)
    return engine


def with_added_token() -> Engine:
    engine = byte_level()
    engine.add_tokens([AddedToken("tabs", rstrip=True)])
    return engine


LOSSY = {
    "lower case": byte_level(normalizer=normalizers.Lowercase()),
    "composed": byte_level(normalizer=normalizers.NFC()),
    "prefix": byte_level(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "no decoder": byte_level(decoder=decoders.Fuse()),
    "space after a token": with_added_token(),
    "space": byte_level(
        pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)])
    ),
    "lacks a byte": byte_level(model=models.BPE(vocab=letters("ô"), merges=[])),
    "words": byte_level(
        model=models.WordLevel({"[UNK]": 0, "the": 1}, "[UNK]"), pre_tokenizer=pre_tokenizers.Whitespace()
    ),
    "letters": byte_level(model=models.BPE(vocab={"t": 0, "h": 1}, merges=[])),
}


@pytest.mark.parametrize("engine", LOSSY.values(), ids=LOSSY)
def test_a_tokenizer_that_loses_characters_is_refused(engine: Engine, tmp_path: Path) -> None:
    engine.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(
        BenchError, match=r"^[^\n]*: the tokenizer [^\n]* loses characters: .* becomes .*; systems"
    ) as error:
        load_tokenizer(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(
    ("known", "used", "new"),
    [
        ((), ("<pad>", "<bos>", "<eos>"), 3),
        (("<pad>", "<s>", "</s>"), ("<pad>", "<s>", "</s>"), 0),
        (("<|endoftext|>",), ("<pad>", "<|endoftext|>", "<|endoftext|>"), 1),
        (("<s>", "</s>", "<|endoftext|>"), ("<pad>", "<|endoftext|>", "<|endoftext|>"), 1),
        (("<|endoftext|>", "<bos>", "<pad>", "<eos>"), ("<pad>", "<bos>", "<eos>"), 0),
    ],
)
def test_special_tokens_that_pretrained_weights_know(
    known: tuple[str, ...], used: tuple[str, ...], new: int, tmp_path: Path
) -> None:
    engine = byte_level()
    engine.add_special_tokens(list(known))
    engine.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(loaded.to_bytes())
    for tokenizer in (loaded, load_tokenizer(tmp_path)):
        engine = Engine.from_str(tokenizer.to_bytes().decode())
        assert [tokenizer.pad, tokenizer.bos, tokenizer.eos] == [engine.token_to_id(token) for token in used]
        assert len(tokenizer) == 256 + len(known) + new
        assert tokenizer.decode(tokenizer.encode(SENTENCES)) == list(SENTENCES)


def test_bytes_of_control_characters_may_be_missing(tmp_path: Path) -> None:
    """Those of SmolLM2; a text with one of them is still refused, when it is read."""
    lacking = "ĆýĔĄúþ÷öÁøñõĝûÀüÿĖēòù"
    byte_level(model=models.BPE(vocab=letters(lacking), merges=[])).save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    with pytest.raises(BenchError, match=r"loses characters: 'a\\x04b' becomes 'ab'"):
        loaded.check_lossless(["a\x04b"], loaded.encode(["a\x04b"]))


def test_other_ways_to_be_lossless(tmp_path: Path) -> None:
    """Llama 3 and Qwen split with a pattern of their own."""
    split = pre_tokenizers.Split(Regex(r"\\s+|\\S{1,4}"), "isolated")
    byte_level(pre_tokenizer=pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])).save(
        str(tmp_path / "tokenizer.json")
    )
    loaded = load_tokenizer(tmp_path)
    assert loaded.decode(loaded.encode(SENTENCES)) == list(SENTENCES)


def test_bytes_of_each_token(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    engine = Engine.from_file(str(tmp_path / "tokenizer.json"))
    engine.add_tokens(["冬 und"])
    engine.save(str(tmp_path / "tokenizer.json"))
    for variant in (tokenizer, load_tokenizer(tmp_path)):
        for text in (*SENTENCES, "im 冬 und 冬"):
            assert variant.byte_counts[variant.encode([text])[0]].sum() == len(text.encode())


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_error_for_missing_files(gpt2_files: Path, missing: str) -> None:
    (gpt2_files / missing).unlink()
    message = f"no tokenizer in {gpt2_files}: expected tokenizer.json, or vocab.json and merges.txt."
    with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
        load_tokenizer(gpt2_files)


def test_error_for_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"^no tokenizer in .*nowhere: expected"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(BenchError, match=r"^tokenizer\.kind is 'folder' but tokenizer\.path is not set\.$"):
        build_tokenizer(TokenizerSpec(kind="folder"), CORPUS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", '{"model": ', "not JSON: "),
        ("tokenizer.json", "{}", "no tokenizer in it."),
        ("vocab.json", '{"a": 0', "not JSON: "),
        ("tokenizer.json", '{"model": {"type": "BPE"}}', "no tokenizer in it: "),
        ("vocab.json", "[1]", "expected keys and values, got list."),
    ],
)
def test_error_for_a_damaged_file(gpt2_files: Path, name: str, content: str, message: str) -> None:
    (gpt2_files / name).write_text(content)
    with pytest.raises(BenchError, match=f"^{re.escape(f'{gpt2_files / name}: {message}')}") as caught:
        load_tokenizer(gpt2_files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("merge", "unknown"), [("qq zz", "'qq'"), ("a qq", "'qq'"), ("Ġ Ġ", "'ĠĠ'"), ("alone", "'alone'"), ("a", "''")]
)
def test_error_for_merges_that_do_not_fit_the_vocabulary(gpt2_files: Path, merge: str, unknown: str) -> None:
    merges = gpt2_files / "merges.txt"
    merges.write_text(f"#version: 0.2\n{merge}\n")
    with pytest.raises(BenchError) as caught:
        load_tokenizer(gpt2_files)
    assert str(caught.value) == f"{merges}, line 2: {unknown} is not in vocab.json; the two do not fit."


def test_bart_keeps_its_own_special_tokens(gpt2_files: Path, tmp_path: Path) -> None:
    """They keep the ids of the files, which BART's weights have embeddings of."""
    words = json.loads((gpt2_files / "vocab.json").read_text())
    special = ("<s>", "<pad>", "</s>", "<unk>")
    renumbered = {word: place for place, word in enumerate((*special, *words, "<mask>"))}
    (gpt2_files / "vocab.json").write_text(json.dumps(renumbered))
    ours = load_tokenizer(gpt2_files)
    theirs = BartTokenizer(str(gpt2_files / "vocab.json"), str(gpt2_files / "merges.txt"))
    assert (ours.bos, ours.pad, ours.eos, len(ours)) == (0, 1, 2, len(renumbered))
    texts = ["the cat sat", " <s> is text", "l'été"]
    assert ours.encode(texts)[::2] == [theirs(text).input_ids for text in texts[::2]]
    assert ours.decode(ours.encode(texts)) == texts
    assert ours.encode(["<s>"])[0].count(ours.bos) == 1
    (tmp_path / "tokenizer.json").write_bytes(ours.to_bytes())
    again = load_tokenizer(tmp_path)
    assert (again.bos, again.pad, again.eos, again.digest) == (ours.bos, ours.pad, ours.eos, ours.digest)

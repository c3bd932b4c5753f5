"""Tokenizers: round trips, deterministic and cached training, and pretrained files as transformers reads them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine
from tokenizers import trainers
from tokenizers.processors import TemplateProcessing
from transformers import BartTokenizer, GPT2Tokenizer

from bench.errors import BenchError
from bench.specs import TokenizerSpec
from bench.tokenizers import Tokenizer, build_tokenizer, load_tokenizer

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
    tokenizer.save(folder / "whole.json")
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


def test_save_and_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
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
    assert len(ours) == 50257 + 3
    for text in SENTENCES:
        assert inner(ours, text) == theirs(text)


def transformers_tokenizer(folder: Path) -> Callable[[str], list[int]]:
    tokenizer = GPT2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def test_limits_and_templates_of_a_pretrained_tokenizer_are_removed(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Files are often saved with truncation, padding, and a template that adds special tokens."""
    tokenizer.save(tmp_path / "tokenizer.json")
    engine = Engine.from_file(str(tmp_path / "tokenizer.json"))
    engine.enable_truncation(4)
    engine.enable_padding(length=50)
    engine.post_processor = TemplateProcessing("<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    engine.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode(SENTENCES) == tokenizer.encode(SENTENCES)


def test_special_tokens_of_a_pretrained_tokenizer_are_ordinary_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    engine = Engine.from_file(str(tmp_path / "tokenizer.json"))
    engine.add_special_tokens(["<|endoftext|>"])
    engine.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert len(loaded) == len(tokenizer) + 1
    assert loaded.decode(loaded.encode(["a <|endoftext|> b"])) == ["a <|endoftext|> b"]


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
    ours.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path)
    assert (again.bos, again.pad, again.eos, again.digest) == (ours.bos, ours.pad, ours.eos, ours.digest)

"""WordPiece for a separate encoder: deterministic training, and pretrained files as transformers reads them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from huggingface_hub import constants
from tokenizers import Tokenizer as Engine
from tokenizers import models
from transformers import BertTokenizer

from bench.errors import BenchError
from bench.specs import EncoderSpec
from bench.tokenizers import Tokenizer, build_encoder_tokenizer
from tests.hub import COMMIT

CORPUS = ("the cat sat on the mat .", "the catalogue cannot be cut", "Größe, 冬 and\tthe rest\n") * 5
SENTENCES = (
    "The cat's mat isn't 3,000 years old!",
    "  two  spaces,\nnew lines\tand tabs ",
    "naïve café, Größe, 冬の朝 🐢",
    "",
    "uncatalogued",
)
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "cafe", "Cat", "s", "'", ",", "冬")


def of_folder(folder: Path) -> Tokenizer:
    return build_encoder_tokenizer(EncoderSpec(source="folder", path=folder), ())


def inner(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text between [CLS] and [SEP]."""
    (ids,) = tokenizer.encode([text])
    assert (ids[0], ids[-1]) == (tokenizer.bos, tokenizer.eos)
    return ids[1:-1]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELLA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bert_files(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder in BERT's older format: ``vocab.txt``, and perhaps settings."""

    def write(words: Sequence[str] = VOCABULARY, **settings: object) -> Path:
        (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        if settings:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return tmp_path

    return write


def trained(size: int = 70) -> Tokenizer:
    return build_encoder_tokenizer(EncoderSpec(vocabulary_size=size), CORPUS)


class TestTrained:
    def test_is_the_same_every_time(self, cache: Path) -> None:
        """The trainer of the library by itself gives a different vocabulary in every second run."""
        first = trained()
        for _ in range(10):
            (entry,) = cache.iterdir()
            shutil.rmtree(entry)
            assert trained().digest == first.digest
        assert trained().encode(SENTENCES) == first.encode(SENTENCES)
        assert first.name == f"wordpiece70@{first.digest[:6]}"

    def test_is_the_same_on_every_machine(self, cache: Path) -> None:
        assert inner(trained(), "the catalogue cats") == [48, 69, 56, 11, 49, 19]

    def test_begins_with_the_special_tokens_of_bert(self, cache: Path) -> None:
        tokenizer = trained()
        assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (0, 2, 3)
        assert len(tokenizer) == 70

    def test_is_longest_match_first(self, cache: Path) -> None:
        """The definition: from the left, the longest known piece; a word with an unknown rest is [UNK]."""
        tokenizer = trained()
        vocabulary = tokenizer._engine.get_vocab()

        def pieces(word: str) -> list[str]:
            found: list[str] = []
            while word:
                prefix = "##" if found else ""
                ends = [end for end in range(len(word), 0, -1) if prefix + word[:end] in vocabulary]
                if not ends:
                    return ["[UNK]"]
                found.append(prefix + word[: ends[0]])
                word = word[ends[0] :]
            return found

        for word in ("catalogue", "sat", "unseat", "xylophone", "Größe", "café", "冬"):
            assert inner(tokenizer, word) == [vocabulary[piece] for piece in pieces(word)], word
        assert inner(tokenizer, "catalogue mat") == inner(tokenizer, "catalogue") + inner(tokenizer, "mat")

    @pytest.mark.parametrize("text", ["[SEP]", "[CLS] the [PAD]", "##cat"])
    def test_the_spelling_of_a_special_token_is_ordinary_text(self, cache: Path, text: str) -> None:
        tokenizer = trained()
        assert not {tokenizer.pad, tokenizer.bos, tokenizer.eos} & set(inner(tokenizer, text))

    def test_different_texts_or_sizes_are_trained_again(self, cache: Path) -> None:
        trained()
        trained(60)
        build_encoder_tokenizer(EncoderSpec(vocabulary_size=70), CORPUS[:-1])
        assert len(list(cache.iterdir())) == 3


class TestPretrained:
    @pytest.mark.parametrize("settings", [{}, {"do_lower_case": True}, {"do_lower_case": False}])
    def test_files_of_bert_equal_transformers(
        self, bert_files: Callable[..., Path], settings: dict[str, object]
    ) -> None:
        folder = bert_files(**settings)
        ours = of_folder(folder)
        theirs = BertTokenizer.from_pretrained(folder)
        assert (ours.pad, ours.bos, ours.eos, len(ours)) == (0, 2, 3, len(VOCABULARY))
        for text in (*SENTENCES, "Cats, the CAFÉ's cat"):
            assert ours.encode([text])[0] == theirs(text)["input_ids"], text

    def test_tokenizer_json_is_preferred(self, bert_files: Callable[..., Path], cache: Path) -> None:
        folder = bert_files()
        (folder / "tokenizer.json").write_bytes(trained().to_bytes())
        assert of_folder(folder).digest == trained().digest

    def test_error_for_missing_files(self, tmp_path: Path) -> None:
        message = f"no tokenizer in {tmp_path}: expected tokenizer.json, or vocab.txt."
        with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
            of_folder(tmp_path)

    def test_error_for_a_tokenizer_without_berts_special_tokens(
        self, bert_files: Callable[..., Path], tmp_path: Path
    ) -> None:
        message = f"the tokenizer in {tmp_path} is not BERT's: it lacks [CLS], [SEP]."
        folder = bert_files(["[PAD]", "[UNK]", "cat"])
        with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
            of_folder(folder)
        Engine(models.WordLevel({"[PAD]": 0, "cat": 1})).save(str(folder / "tokenizer.json"))
        with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
            of_folder(folder)

    def test_error_for_a_missing_path(self) -> None:
        for source, key in (("folder", "path"), ("hub", "name")):
            message = f"encoder.source is '{source}' but encoder.{key} is not set."
            with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
                build_encoder_tokenizer(EncoderSpec(source=source), ())

    def test_the_hub_gives_the_same_tokenizer(
        self, bert_files: Callable[..., Path], hub: Callable[[Path], str]
    ) -> None:
        folder = bert_files(do_lower_case=False)
        name = hub(folder)
        assert (
            build_encoder_tokenizer(EncoderSpec(source="hub", name=name, revision=COMMIT), ()).digest
            == of_folder(folder).digest
        )

    def test_error_for_a_missing_name_on_the_hub(self) -> None:
        assert constants.HF_HUB_OFFLINE
        with pytest.raises(BenchError, match=r"^cannot load the tokenizer of nobody/nothing: ") as caught:
            build_encoder_tokenizer(EncoderSpec(source="hub", name="nobody/nothing", revision=COMMIT), ())
        assert "\n" not in str(caught.value)

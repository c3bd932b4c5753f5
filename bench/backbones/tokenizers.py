"""Tokenizers: byte-level BPE trained on the task's own training split, or a pretrained one from a folder.

Both end in the same three special tokens: padding, begin and end of text. Byte-level BPE knows every text, so nothing
is out of vocabulary and perplexities per word or per byte are comparable between tokenizers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, trainers

from bench.errors import BenchError
from bench.spec import TokenizerSpec, digest
from bench.storage import atomic_write, cache_folder

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")


class Tokenizer:
    """Text to ids and back, BOS and EOS included.

    Attributes:
        name: what signatures call it: kind, size and the first six digits of the content's digest.
        digest: SHA-256 of its content.
        pad, bos, eos: ids of the special tokens.
    """

    def __init__(self, engine: Engine, kind: str) -> None:
        engine.add_special_tokens(list(SPECIAL_TOKENS))
        engine.encode_special_tokens = True  # a text that spells "<eos>" does not end there
        # What a pretrained tokenizer was last used with is no part of it; texts are cut and padded by the harness.
        engine.no_truncation()
        engine.no_padding()
        self._engine = engine
        self.pad, self.bos, self.eos = (int(engine.token_to_id(token) or 0) for token in SPECIAL_TOKENS)
        self.digest = hashlib.sha256(engine.to_str().encode()).hexdigest()
        self.name = f"{kind}{len(self)}@{self.digest[:6]}"

    def __len__(self) -> int:
        return int(self._engine.get_vocab_size(with_added_tokens=True))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text, BOS first and EOS last."""
        encoded = self._engine.encode_batch(list(texts), add_special_tokens=False)
        return [[self.bos, *one.ids, self.eos] for one in encoded]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the texts of ids, special tokens left out."""
        return list(self._engine.decode_batch([list(one) for one in ids], skip_special_tokens=True))

    def save(self, path: Path) -> None:
        """Writes the one file from which ``load`` reads it back."""
        atomic_write(path, self._engine.to_str().encode())


def build_tokenizer(spec: TokenizerSpec, training_texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer of a run.

    Training is cached by the hash of the texts and the size, in ``$DELLA_BENCH_CACHE`` or ``~/.cache/della-bench``.

    Raises:
        BenchError: ``folder`` without a path, or a folder without tokenizer files.
    """
    if spec.kind == "folder":
        if spec.path is None:
            raise BenchError("tokenizer.kind is 'folder' but tokenizer.path is not set.")
        return load_tokenizer(spec.path)
    key = digest({"texts": list(training_texts), "size": spec.vocabulary_size, "version": 1})[:16]
    cached = cache_folder() / f"bpe-{key}.json"
    if cached.is_file():
        with suppress(BenchError):  # a damaged file is trained anew
            return Tokenizer(_read_engine(cached), "bpe")
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocabulary_size,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    engine.train_from_iterator(training_texts, trainer, length=len(training_texts))
    tokenizer = Tokenizer(engine, "bpe")
    tokenizer.save(cached)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads a pretrained byte-level BPE: ``tokenizer.json``, or GPT-2's ``vocab.json`` and ``merges.txt``.

    Raises:
        BenchError: the folder does not exist or holds neither, or a file is damaged.
    """
    whole, vocabulary, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    if whole.is_file():
        engine = _read_engine(whole)
        return Tokenizer(engine, _kind(engine))
    if not (vocabulary.is_file() and merges.is_file()):
        raise BenchError(f"no tokenizer in {folder}: expected tokenizer.json, or vocab.json and merges.txt.")
    words = _read_json(vocabulary)
    lines = merges.read_text(encoding="utf-8").split("\n")
    pairs = [(left, right) for left, _, right in (line.partition(" ") for line in lines if not _comment(line))]
    engine = Engine(models.BPE(vocab=words, merges=pairs))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return Tokenizer(engine, folder.resolve().name)


def _read_engine(path: Path) -> Engine:
    if "model" not in (content := _read_json(path)):
        raise BenchError(f"{path}: no tokenizer in it.")
    return Engine.from_str(json.dumps(content))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchError(f"{path}: damaged, not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BenchError(f"{path}: expected keys and values, got {type(content).__name__}.")
    return content


def _comment(line: str) -> bool:
    return not line or line.startswith("#version")


def _kind(engine: Engine) -> str:
    return str(json.loads(engine.to_str())["model"]["type"]).lower()

"""Tokenizers: trained on the task's own training split, or pretrained ones.

What is predicted is byte-level BPE, which knows every text: nothing is out of vocabulary, and perplexities per word or
per byte are comparable between tokenizers. An encoder of a system's own reads WordPiece.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from huggingface_hub import snapshot_download
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from bench.cache import cached_arrays
from bench.errors import BenchError
from bench.reading import read_json, read_lines
from bench.specs import EncoderSpec, TokenizerSpec
from bench.storage import atomic_write

VERSION = 1
"""Rises whenever training on the same texts gives another tokenizer."""

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
"""Padding, begin and end of text."""

BART_TOKENS = ("<pad>", "<s>", "</s>")
"""The same of BART, whose weights know them."""

BERT_TOKENS = ("[PAD]", "[CLS]", "[SEP]")
"""The same of BERT."""

UNKNOWN = "[UNK]"
WORDPIECE_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")


class Tokenizer:
    """Text to ids and back, BOS and EOS included.

    Attributes:
        name: its name in signatures: kind, size and the first six digits of the content's digest.
        digest: SHA-256 of its content.
        pad, bos, eos: ids of the special tokens.
        encoder: the tokens that a separate encoder (Optimus's BERT) reads; None for a system without one.
    """

    encoder: EncoderTokens | None = None

    def __init__(self, engine: Engine, kind: str, special: Sequence[str] = SPECIAL_TOKENS) -> None:
        engine.add_special_tokens(list(special))
        engine.encode_special_tokens = True  # a text that spells "<eos>" does not end there
        # What a pretrained tokenizer was last used with is no part of it; texts are cut and padded by the harness.
        engine.no_truncation()
        engine.no_padding()
        self._engine = engine
        self.pad, self.bos, self.eos = (int(engine.token_to_id(token) or 0) for token in special)
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

    def with_encoder(self, encoder: EncoderTokens | None) -> Tokenizer:
        """Returns the same tokenizer with the tokens of a separate encoder beside its own."""
        tokenizer = copy(self)
        tokenizer.encoder = encoder
        return tokenizer

    def save(self, path: Path) -> None:
        """Writes the one file from which ``load`` reads it back."""
        atomic_write(path, self._engine.to_str().encode())


@dataclass(frozen=True)
class EncoderTokens:
    """The tokens of a separate encoder: its tokenizer, and the longest sequence that the encoder takes."""

    tokenizer: Tokenizer
    positions: int


def build_tokenizer(spec: TokenizerSpec, training_texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer of a run.

    The same texts and size are trained once, and then come from the cache.

    Raises:
        BenchError: ``folder`` without a path, or a folder without tokenizer files.
    """
    if spec.kind == "folder":
        if spec.path is None:
            raise BenchError("tokenizer.kind is 'folder' but tokenizer.path is not set.")
        return load_tokenizer(spec.path)
    return _trained("bpe", _train_bpe, SPECIAL_TOKENS, training_texts, spec.vocabulary_size)


def build_encoder_tokenizer(spec: EncoderSpec, training_texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer of a system's own encoder: WordPiece of the training texts, or the pretrained encoder's.

    Raises:
        BenchError: a pretrained encoder without tokenizer.
    """
    if spec.source == "scratch":
        return _trained("wordpiece", _train_wordpiece, BERT_TOKENS, training_texts, spec.vocabulary_size)
    if spec.source == "folder":
        return load_wordpiece(Path(spec.location("encoder")))
    name = spec.location("encoder")
    try:
        folder = snapshot_download(name, revision=spec.revision, allow_patterns=list(WORDPIECE_FILES))
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot load the tokenizer of {name}: {str(error).splitlines()[0]}") from error
    return load_wordpiece(Path(folder))


def _trained(
    kind: str,
    train: Callable[[Sequence[str], int], Engine],
    special: Sequence[str],
    texts: Sequence[str],
    size: int,
) -> Tokenizer:
    """Returns a trained tokenizer, from the cache if these texts were seen before."""
    content = {"texts": list(texts), "size": size, "version": VERSION, "tokenizers": tokenizers.__version__}
    kept = cached_arrays(
        kind, content, lambda: {"engine": np.frombuffer(train(texts, size).to_str().encode(), dtype=np.uint8)}
    )
    return Tokenizer(Engine.from_str(kept["engine"].tobytes().decode()), kind, special)


def _train_bpe(texts: Sequence[str], size: int) -> Engine:
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    engine.train_from_iterator(texts, trainer, length=len(texts))
    return engine


def _train_wordpiece(texts: Sequence[str], size: int) -> Engine:
    engine = _wordpiece({}, lower_case=False)
    letters = sorted({letter for text in texts for letter in engine.normalizer.normalize_str(text)} - {" "})
    # Left to itself the trainer numbers letters inside words as it comes across them, in another order every time, and
    # decides between equally frequent pieces by these numbers.
    numbered = [BERT_TOKENS[0], UNKNOWN, *BERT_TOKENS[1:], *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=size, show_progress=False, special_tokens=numbered)
    engine.train_from_iterator(texts, trainer, length=len(texts))
    return _wordpiece(engine.get_vocab(), lower_case=False)


def _wordpiece(vocabulary: dict[str, int], lower_case: bool) -> Engine:
    """Returns WordPiece as BERT has it: texts are cleaned and split at blanks and punctuation, words into pieces."""
    engine = Engine(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    engine.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    return engine


def load_tokenizer(folder: Path, special: Sequence[str] | None = None) -> Tokenizer:
    """Reads a pretrained byte-level BPE: ``tokenizer.json``, or ``vocab.json`` and ``merges.txt`` (GPT-2, BART).

    Args:
        folder: of the files.
        special: padding, begin and end of text, added in this order where they are lacking; BART's in its own
            tokenizer, else the suite's, if not given.

    Raises:
        BenchError: the folder does not exist or holds neither, or a file is damaged.
    """
    whole, vocabulary, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    if whole.is_file():
        return read_tokenizer(whole, special)
    if not (vocabulary.is_file() and merges.is_file()):
        raise BenchError(f"no tokenizer in {folder}: expected tokenizer.json, or vocab.json and merges.txt.")
    words = read_json(vocabulary)
    engine = Engine(models.BPE(vocab=words, merges=_read_merges(merges, words)))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return Tokenizer(engine, folder.resolve().name, special or _special_tokens(engine))


def read_tokenizer(file: Path, special: Sequence[str] | None = None) -> Tokenizer:
    """Reads what ``Tokenizer.save`` wrote, or any file of its kind; ``special`` is as for ``load_tokenizer``.

    Raises:
        BenchError: the file is damaged or holds no tokenizer.
    """
    engine = _read_engine(file)
    return Tokenizer(engine, _kind(engine), special or _special_tokens(engine))


def load_wordpiece(folder: Path) -> Tokenizer:
    """Reads the tokenizer of a pretrained BERT: ``tokenizer.json``, or ``vocab.txt``.

    Raises:
        BenchError: the folder does not exist or holds neither, a file is damaged, or it is no tokenizer of BERT's.
    """
    whole, vocabulary, settings = (folder / name for name in WORDPIECE_FILES)
    if whole.is_file():
        engine = _read_engine(whole)
    elif vocabulary.is_file():
        said = read_json(settings) if settings.is_file() else {}
        words = {word: number - 1 for number, word in read_lines(vocabulary)}
        engine = _wordpiece(words, bool(said.get("do_lower_case", True)))
    else:
        raise BenchError(f"no tokenizer in {folder}: expected tokenizer.json, or vocab.txt.")
    if missing := [token for token in BERT_TOKENS if engine.token_to_id(token) is None]:
        raise BenchError(f"the tokenizer in {folder} is not BERT's: it lacks {', '.join(missing)}.")
    return Tokenizer(engine, _kind(engine), BERT_TOKENS)


def _special_tokens(engine: Engine) -> Sequence[str]:
    """Returns the special tokens that weights may know already: BART's in its own tokenizer, else the suite's."""
    suites, barts = ({engine.token_to_id(token) for token in tokens} for tokens in (SPECIAL_TOKENS, BART_TOKENS))
    return BART_TOKENS if None in suites and None not in barts else SPECIAL_TOKENS


def _read_engine(path: Path) -> Engine:
    if "model" not in (content := read_json(path)):
        raise BenchError(f"{path}: no tokenizer in it.")
    try:
        return Engine.from_str(json.dumps(content))
    except Exception as error:  # tokenizers has no narrower one
        raise BenchError(f"{path}: no tokenizer in it: {error}") from error


def _read_merges(path: Path, words: Mapping[str, int]) -> list[tuple[str, str]]:
    """Returns the pairs of pieces that are merged, all of them and what they make known to the vocabulary."""
    pairs = []
    for number, line in read_lines(path):
        if line and not line.startswith("#version"):
            left, _, right = line.partition(" ")
            if unknown := [piece for piece in (left, right, left + right) if piece not in words]:
                raise BenchError(f"{path}, line {number}: {unknown[0]!r} is not in vocab.json; the two do not fit.")
            pairs.append((left, right))
    return pairs


def _kind(engine: Engine) -> str:
    return str(json.loads(engine.to_str())["model"]["type"]).lower()

"""Tokenizers: trained on the task's own training split, or pretrained ones.

Systems predict byte-level BPE. It can represent every text, so perplexities per word or per byte are comparable between
tokenizers. A separate encoder (BERT) reads WordPiece.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers
from huggingface_hub import snapshot_download
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from bench.cache import cached_arrays
from bench.errors import BenchError, first_line
from bench.reading import read_json, read_lines
from bench.specs import EncoderSpec, TokenizerSpec

VERSION = 2
"""Rises whenever training on the same texts gives a different tokenizer."""

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
"""Padding, BOS and EOS."""

BART_TOKENS = ("<pad>", "<s>", "</s>")
"""Padding, BOS and EOS of BART, whose weights have embeddings of them."""

END_OF_TEXT_TOKENS = ("<pad>", "<|endoftext|>", "<|endoftext|>")
"""Padding, BOS and EOS of GPT-2, Qwen and SmolLM, whose weights know one token between two texts."""

BERT_TOKENS = ("[PAD]", "[CLS]", "[SEP]")
"""Padding, BOS and EOS of BERT."""

UNKNOWN = "[UNK]"
HASHED_AT_ONCE = 4096
"""Texts; many calls for one text each take much longer."""

LARGEST_VOCABULARY = 2**24
"""Numbers of pieces are below it; the largest vocabularies have a million pieces."""

LONGEST_WORD = 512
"""Bytes of BPE or letters of WordPiece; training splits longer words, since its time grows with their square."""

_EVERY_BYTE = "".join(
    map(chr, (*range(9, 14), *range(32, 0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x40000, 0x10000), 0x10FFFF))
)
"""Characters whose UTF-8 contains every byte that texts have: all of the basic plane, and some of each other plane.

Vocabularies of web pages lack control characters, and planes that are empty. Each text of a run is checked too.
"""

_PROBES = ("The CAT's naïve café, e\u0301 冬 🙂", "  two  spaces,\n\nlines\tand tabs ", _EVERY_BYTE)
"""Texts that a lossless tokenizer gives back."""

BPE_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
WORDPIECE_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")


class Tokenizer:
    """Text to ids and back, BOS and EOS included.

    Attributes:
        name: name in signatures: kind, size and the first six digits of ``digest``.
        digest: SHA-256 of the content.
        pad, bos, eos: ids of the special tokens.
        encoder: the tokens that a separate encoder (Optimus's BERT) reads; None for a system without one.
    """

    encoder: EncoderTokens | None = None

    def __init__(self, engine: Engine, kind: str, special: Sequence[str] = SPECIAL_TOKENS) -> None:
        engine.add_special_tokens(list(special))
        engine.encode_special_tokens = True  # "<eos>" inside a text is ordinary characters
        # A pretrained tokenizer may bring its own limits; the harness cuts and pads texts.
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
        encoded = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)  # without places in the texts
        return [[self.bos, *encoding.ids, self.eos] for encoding in encoded]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each sequence of ids, without special tokens."""
        return list(self._engine.decode_batch([list(text) for text in ids], skip_special_tokens=True))

    def check_lossless(self, texts: Sequence[str], ids: Sequence[Sequence[int]], where: str = "") -> None:
        """Checks that the ids of texts stand for all of these texts.

        Raises:
            BenchError: a text loses characters; the message begins with ``where`` and shows the place in the text.
        """
        if self._spell(texts, ids):
            return
        for text, decoded in zip(texts, self.decode(ids), strict=True):
            if text != decoded:
                pairs = enumerate(zip(text, decoded, strict=False))
                place = next((index for index, (before, after) in pairs if before != after), len(decoded))
                before, after = (repr(each[max(0, place - 10) : place + 20]) for each in (text, decoded))
                raise BenchError(
                    f"{where}the tokenizer {self.name} loses characters: {before} becomes {after};"
                    " systems need one that gives every text back, such as byte-level BPE with all 256 bytes."
                )

    @cached_property
    def byte_counts(self) -> npt.NDArray[np.int64] | None:
        """UTF-8 bytes that each id stands for, which may be part of a character; 0 for special tokens.

        None for a tokenizer of words, which stand for a blank too, but not all of them.
        """
        if not isinstance(self._engine.decoder, decoders.ByteLevel):
            return None
        counts = np.zeros(len(self), dtype=np.int64)
        for token, number in self._engine.get_vocab(with_added_tokens=False).items():
            counts[number] = len(token)  # byte-level BPE spells each byte as one letter
        for number, added in self._engine.get_added_tokens_decoder().items():
            counts[number] = 0 if added.special else len(added.content.encode())
        return counts

    def _spell(self, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> bool:
        """Returns whether the bytes of the ids are known and those of the texts; ``decode`` would take far longer."""
        if (pieces := self._pieces) is None:
            return False
        rows = (b"".join(map(pieces.__getitem__, row)) for row in ids)
        return all(text.encode() == row for text, row in zip(texts, rows, strict=True))

    @cached_property
    def _pieces(self) -> list[bytes] | None:
        """The UTF-8 that each id stands for; None if that is not known without the decoder."""
        added = self._engine.get_added_tokens_decoder().values()
        if self.byte_counts is None or not all(token.special for token in added):
            return None
        pieces, letters = [b""] * len(self), _byte_letters()
        for token, number in self._engine.get_vocab(with_added_tokens=False).items():
            if self.byte_counts[number]:
                if not letters.keys() >= set(token):
                    return None
                pieces[number] = bytes(map(letters.__getitem__, token))
        return pieces

    def with_encoder(self, encoder: EncoderTokens | None) -> Tokenizer:
        """Returns a copy that also has the tokens of a separate encoder."""
        tokenizer = copy(self)
        tokenizer.encoder = encoder
        return tokenizer

    def to_bytes(self) -> bytes:
        """Returns the content of a file that ``read_tokenizer`` reads."""
        return self._engine.to_str().encode()


@cache
def _byte_letters() -> dict[str, int]:
    """Returns the letter that byte-level BPE writes for each byte, as a mapping to the byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


@dataclass(frozen=True)
class EncoderTokens:
    """The tokenizer of a separate encoder, and the length of the longest sequence that the encoder takes."""

    tokenizer: Tokenizer
    positions: int


def build_tokenizer(spec: TokenizerSpec, training_texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer of a run.

    A trained tokenizer is cached by its texts and size.

    Raises:
        BenchError: the path of ``folder`` or the name or commit of ``hub`` is missing, there are no tokenizer files, or
            the hub cannot be reached and they were not downloaded before.
    """
    if spec.kind == "folder":
        return load_tokenizer(Path(spec.location()))
    if spec.kind == "hub":
        return load_tokenizer(_downloaded(spec.location(), spec.revision, BPE_FILES))
    return _trained("bpe", _train_bpe, SPECIAL_TOKENS, training_texts, spec.vocabulary_size)


def build_encoder_tokenizer(spec: EncoderSpec, training_texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer of a separate encoder: WordPiece trained on the texts, or the pretrained encoder's own.

    Raises:
        BenchError: a pretrained encoder has no tokenizer.
    """
    if spec.source == "scratch":
        return _trained("wordpiece", _train_wordpiece, BERT_TOKENS, training_texts, spec.vocabulary_size)
    if spec.source == "folder":
        return load_wordpiece(Path(spec.location("encoder")))
    return load_wordpiece(_downloaded(spec.location("encoder"), spec.revision, WORDPIECE_FILES))


def _downloaded(name: str, revision: str | None, files: Sequence[str]) -> Path:
    """Returns the folder with those of the files that a model of the hub has."""
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot load the tokenizer of {name}: {first_line(error)}") from error


def _trained(
    kind: str,
    train: Callable[[Sequence[str], int], Engine],
    special: Sequence[str],
    texts: Sequence[str],
    size: int,
) -> Tokenizer:
    """Trains a tokenizer, or reads it from the cache if it was trained on the same texts before."""
    content = {"texts": _sha256(texts), "size": size, "version": VERSION, "tokenizers": tokenizers.__version__}
    arrays = cached_arrays(
        kind, content, lambda: {"engine": np.frombuffer(train(texts, size).to_str().encode(), dtype=np.uint8)}
    )
    return Tokenizer(Engine.from_str(arrays["engine"].tobytes().decode()), kind, special)


def _sha256(texts: Sequence[str]) -> str:
    """Returns the digest of texts and their lengths."""
    digest = hashlib.sha256()
    for start in range(0, len(texts), HASHED_AT_ONCE):
        portion = texts[start : start + HASHED_AT_ONCE]
        digest.update(f"{list(map(len, portion))}{''.join(portion)}".encode())
    return digest.hexdigest()


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
    _train(engine, trainer, texts)
    return engine


def _train(engine: Engine, trainer: trainers.Trainer, texts: Sequence[str]) -> None:
    """Trains a tokenizer; a word longer than ``LONGEST_WORD`` counts as several."""
    words = engine.pre_tokenizer
    engine.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(LONGEST_WORD)])
    engine.train_from_iterator(texts, trainer, length=len(texts))
    engine.pre_tokenizer = words


def _train_wordpiece(texts: Sequence[str], size: int) -> Engine:
    engine = _wordpiece({}, lower_case=False)
    letters = sorted({letter for text in texts for letter in engine.normalizer.normalize_str(text)} - {" "})
    # By itself the trainer numbers the letters inside words in a random order, and breaks ties between equally frequent
    # pieces by these numbers. As special tokens the letters get fixed numbers.
    fixed = [BERT_TOKENS[0], UNKNOWN, *BERT_TOKENS[1:], *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=size, show_progress=False, special_tokens=fixed)
    _train(engine, trainer, texts)
    return _wordpiece(engine.get_vocab(), lower_case=False)


def _wordpiece(vocabulary: dict[str, int], lower_case: bool) -> Engine:
    """Returns BERT's WordPiece: texts are cleaned, split at blanks and punctuation, and words split into pieces."""
    engine = Engine(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    engine.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    return engine


def load_tokenizer(folder: Path, special: Sequence[str] | None = None, lossless: bool = True) -> Tokenizer:
    """Reads a pretrained byte-level BPE: ``tokenizer.json``, or ``vocab.json`` and ``merges.txt`` (GPT-2, BART).

    Args:
        folder: folder of the files.
        special: padding, BOS and EOS; missing ones are added in this order. By default those of ``SPECIAL_TOKENS``,
            ``END_OF_TEXT_TOKENS`` and ``BART_TOKENS`` that the tokenizer has, else ``SPECIAL_TOKENS``.
        lossless: whether it must give every text back; if not, each text is checked when it is scored.

    Raises:
        BenchError: the folder does not exist or has none of these files, a file is damaged, or the tokenizer loses
            characters.
    """
    tokenizer = _read_folder(folder, special)
    with _one_line(f"{folder}: a tokenizer that fails"):
        ids = tokenizer.encode(_PROBES)
        if lossless:
            tokenizer.check_lossless(_PROBES, ids, f"{folder}: ")
    return tokenizer


def _read_folder(folder: Path, special: Sequence[str] | None) -> Tokenizer:
    whole, vocabulary, merges = (folder / name for name in BPE_FILES)
    if whole.is_file():
        return read_tokenizer(whole, special)
    if not (vocabulary.is_file() and merges.is_file()):
        raise BenchError(f"no tokenizer in {folder}: expected tokenizer.json, or vocab.json and merges.txt.")
    words = _read_vocabulary(vocabulary)
    engine = Engine(models.BPE(vocab=words, merges=_read_merges(merges, words)))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    _check_numbers(engine, folder)
    return Tokenizer(engine, folder.resolve().name, special or _special_tokens(engine))


def read_tokenizer(file: Path, special: Sequence[str] | None = None) -> Tokenizer:
    """Reads a file that ``Tokenizer.save`` or Hugging Face's tokenizers wrote; ``special`` as in ``load_tokenizer``.

    Raises:
        BenchError: the file is damaged or holds no tokenizer.
    """
    engine = _read_engine(file)
    _check_numbers(engine, file)
    return Tokenizer(engine, _kind(engine), special or _special_tokens(engine))


def load_wordpiece(folder: Path) -> Tokenizer:
    """Reads the tokenizer of a pretrained BERT: ``tokenizer.json``, or ``vocab.txt``.

    Raises:
        BenchError: the folder does not exist or has neither file, a file is damaged, or BERT's special tokens are
            missing.
    """
    whole, vocabulary, settings = (folder / name for name in WORDPIECE_FILES)
    if whole.is_file():
        engine = _read_engine(whole)
    elif vocabulary.is_file():
        options = read_json(settings) if settings.is_file() else {}
        words: dict[str, int] = {}
        for number, word in read_lines(vocabulary):
            if words.setdefault(word, number - 1) != number - 1:
                raise BenchError(f"{vocabulary}, line {number}: {word!r} is also in line {words[word] + 1}.")
        engine = _wordpiece(words, bool(options.get("do_lower_case", True)))
    else:
        raise BenchError(f"no tokenizer in {folder}: expected tokenizer.json, or vocab.txt.")
    _check_numbers(engine, folder)
    if missing := [token for token in BERT_TOKENS if engine.token_to_id(token) is None]:
        raise BenchError(f"the tokenizer in {folder} is not BERT's: it lacks {', '.join(missing)}.")
    with _one_line(f"{folder}: a tokenizer that fails"):
        tokenizer = Tokenizer(engine, _kind(engine), BERT_TOKENS)
        tokenizer.decode(tokenizer.encode(_PROBES))
        return tokenizer


def _special_tokens(engine: Engine) -> Sequence[str]:
    """Returns the tokens that pretrained weights probably have embeddings of, the suite's own if they have none."""
    known = set(engine.get_vocab(with_added_tokens=True))
    if not known >= set(SPECIAL_TOKENS):
        if END_OF_TEXT_TOKENS[1] in known:
            return END_OF_TEXT_TOKENS
        if known >= set(BART_TOKENS):
            return BART_TOKENS
    return SPECIAL_TOKENS


def _read_engine(path: Path) -> Engine:
    if "model" not in (content := read_json(path)):
        raise BenchError(f"{path}: no tokenizer in it.")
    content = {**content, "truncation": None, "padding": None}  # the harness cuts and pads texts
    _check_small(content, path)
    with _one_line(f"{path}: no tokenizer in it"):
        return Engine.from_str(json.dumps(content))


def _check_small(content: object, path: Path) -> None:
    """Refuses whole numbers that are too large for a tokenizer: the library reserves memory for them, and aborts."""
    if type(content) is int and not 0 <= content < LARGEST_VOCABULARY:
        raise BenchError(f"{path}: no tokenizer has the number {content}.")
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_small(inner, path)


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turns errors of the library into a BenchError; a mistake that it did not expect is no ``Exception``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, BenchError):
        raise
    except BaseException as error:
        raise BenchError(f"{what}: {first_line(error)}") from error


def _read_vocabulary(path: Path) -> dict[str, int]:
    """Returns the number of each piece of BPE.

    Raises:
        BenchError: a number is no whole number, or two pieces have the same; weights have a row for each number.
    """
    words = read_json(path)
    pieces: dict[int, str] = {}
    for piece, number in words.items():
        if type(number) is not int or not 0 <= number < LARGEST_VOCABULARY:
            raise BenchError(f"{path}: the number of {piece!r} is {number!r}.")
        if (other := pieces.setdefault(number, piece)) != piece:
            raise BenchError(f"{path}: {other!r} and {piece!r} have the same number, {number}.")
    return words


def _check_numbers(engine: Engine, where: Path) -> None:
    """Refuses a tokenizer whose numbers have gaps: weights have a row for each number, and no others."""
    numbers = set(engine.get_vocab(with_added_tokens=True).values())
    if not numbers or numbers != set(range(engine.get_vocab_size(with_added_tokens=True))):
        raise BenchError(
            f"{where}: a tokenizer of {len(numbers)} pieces whose numbers are not 0 to {len(numbers) - 1}."
        )


def _read_merges(path: Path, words: Mapping[str, int]) -> list[tuple[str, str]]:
    """Returns the pairs of pieces that BPE merges.

    Raises:
        BenchError: a piece or the result of a merge is not in the vocabulary.
    """
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

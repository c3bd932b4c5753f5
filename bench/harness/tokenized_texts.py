"""The texts of a split as token ids, with the counts that scores divide by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from bench.batch import Batch, Ids
from bench.bootstrap import Array
from bench.cache import AnyArray
from bench.tasks import Example
from bench.tokenizers import Tokenizer

VERSION = 3
"""Rises whenever the same texts and tokenizer give other ids, counts or arrays."""

TOKENIZED_AT_ONCE = 4096
"""Texts per call of the tokenizer. It bounds memory, because a tokenizer returns much more than the ids."""


@dataclass(frozen=True, eq=False)
class TokenIds:
    """Token ids of N texts in one array.

    Attributes:
        flat: ids of all texts.
        offsets: start of each text in ``flat``, and the end of the last one (N + 1).
        cut: True for a text that was longer than the limit; it keeps its first tokens and has no EOS (N).
        pad: id of padding.
        encoder: the same texts, after the cut, in the tokens of a separate encoder; None without one.
    """

    flat: Ids
    offsets: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]
    pad: int
    encoder: TokenIds | None = None

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer, limit: int, lossless: bool = False) -> TokenIds:
        """Tokenizes texts.

        Args:
            texts: the texts.
            tokenizer: of the texts.
            limit: largest number of tokens that a text keeps.
            lossless: whether the tokenizer must not lose characters.

        Raises:
            BenchError: it does; the message shows the first text.
        """
        portions = []
        lengths = np.empty(len(texts), dtype=np.int64)
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            portion = texts[start : start + TOKENIZED_AT_ONCE]
            tokens = tokenizer.encode(portion)
            if lossless:
                tokenizer.check_lossless(portion, tokens)
            lengths[start : start + len(portion)] = list(map(len, tokens))
            kept = (ids if len(ids) <= limit else ids[:limit] for ids in tokens)
            portions.append(np.fromiter(chain.from_iterable(kept), dtype=np.int32))
        offsets = np.concatenate([[0], np.minimum(lengths, limit).cumsum()])
        return cls(_joined(portions), offsets, lengths > limit, tokenizer.pad)

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, index: int) -> Ids:
        return self.flat[self.offsets[:-1][index] : self.offsets[1:][index]]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text (N)."""
        return np.diff(self.offsets)

    def tolist(self) -> list[list[int]]:
        """Returns the ids of each text as a list."""
        return [self[index].tolist() for index in range(len(self))]

    def batch(self, indices: Sequence[int], condition: Batch | None = None) -> Batch:
        """Returns the texts at ``indices`` as a batch with the given condition."""
        encoder = self.encoder.batch(indices) if self.encoder else None
        return Batch.collate([self[index] for index in indices], self.pad, condition, encoder)

    def arrays(self, prefix: str) -> dict[str, AnyArray]:
        """Returns all attributes as arrays whose names begin with ``prefix``."""
        arrays: dict[str, AnyArray] = {
            f"{prefix}.flat": self.flat,
            f"{prefix}.offsets": self.offsets,
            f"{prefix}.cut": self.cut,
            f"{prefix}.pad": np.array(self.pad),
        }
        return arrays | self.encoder.arrays(f"{prefix}.encoder") if self.encoder else arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray], prefix: str) -> TokenIds | None:
        """Returns the ids that ``arrays(prefix)`` stored; None if there are none."""
        if f"{prefix}.flat" not in arrays:
            return None
        flat, offsets, cut, pad = (arrays[f"{prefix}.{name}"] for name in ("flat", "offsets", "cut", "pad"))
        return cls(flat, offsets, cut, int(pad), cls.from_arrays(arrays, f"{prefix}.encoder"))


@dataclass(frozen=True, eq=False)
class TokenizedTexts:
    """N texts of a split, BOS and EOS included.

    Attributes:
        ids: of the texts (the targets of a conditional task).
        words: whitespace-separated words of each text after the cut (N).
        bytes: UTF-8 bytes of each text after the cut, which may be inside a character (N).
        sources: ids of the source of each text; None on unconditional tasks.
    """

    ids: TokenIds
    words: Array
    bytes: Array
    sources: TokenIds | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cuts(self) -> dict[str, int]:
        """Number of cut texts and sources, by the words that a record uses for them."""
        counts = {"texts were cut": self.ids, "sources were cut": self.sources}
        counts |= {f"{what} for the encoder": ids.encoder if ids else None for what, ids in counts.items()}
        return {what: int(ids.cut.sum()) if ids else 0 for what, ids in counts.items()}

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text and its source, BOS included (N)."""
        return self.ids.lengths + self.sources.lengths if self.sources else self.ids.lengths

    @cached_property
    def predicted(self) -> Array:
        """Predicted tokens of each text: all but BOS (N)."""
        return (self.ids.lengths - 1).astype(np.float64)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Returns the texts at ``indices`` as a batch, with their sources on conditional tasks."""
        return self.ids.batch(indices, self.conditions(indices))

    def conditions(self, indices: Sequence[int]) -> Batch | None:
        """Returns the sources of the texts at ``indices``; None on unconditional tasks."""
        return self.sources.batch(indices) if self.sources else None

    def arrays(self) -> dict[str, AnyArray]:
        """Returns all attributes as arrays by name."""
        arrays = {"words": self.words, "bytes": self.bytes, **self.ids.arrays("ids")}
        return arrays | self.sources.arrays("sources") if self.sources else arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> TokenizedTexts:
        """Returns the texts that ``arrays`` stored."""
        ids, sources = (TokenIds.from_arrays(arrays, prefix) for prefix in ("ids", "sources"))
        if ids is None:
            raise KeyError("ids")
        return cls(ids, arrays["words"], arrays["bytes"], sources)


def tokenize(
    examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int, max_source_tokens: int | None = None
) -> TokenizedTexts:
    """Tokenizes examples and cuts what is too long.

    Args:
        examples: pairs, or texts alone.
        tokenizer: of texts and sources.
        max_tokens: longest text, BOS included.
        max_source_tokens: longest source, BOS included; None leaves sources out.

    Raises:
        BenchError: the tokenizer loses characters of a text.
    """
    ids, texts = _cut([example.target for example in examples], tokenizer, max_tokens)
    sources = None
    if max_source_tokens is not None:
        sources, _ = _cut([example.source or "" for example in examples], tokenizer, max_source_tokens)
    if (byte_counts := tokenizer.byte_counts) is None:
        n_bytes = np.array([len(text.encode()) for text in texts])
    else:
        starts = range(0, len(ids), TOKENIZED_AT_ONCE)
        n_bytes = np.concatenate([np.empty(0, dtype=np.int64), *(_sums(byte_counts, ids, start) for start in starts)])
    return TokenizedTexts(
        ids,
        words=np.array([len(text.split()) for text in texts], dtype=np.float64),
        bytes=n_bytes.astype(np.float64),
        sources=sources,
    )


def _joined(portions: list[Ids]) -> Ids:
    """Returns one array of all portions, which are removed from the list: both at once would take twice the memory."""
    flat = np.empty(sum(map(len, portions)), dtype=np.int32)
    end = len(flat)
    while portions:
        portion = portions.pop()
        flat[end - len(portion) : end] = portion
        end -= len(portion)
    return flat


def _sums(of_tokens: npt.NDArray[np.int64], ids: TokenIds, start: int) -> npt.NDArray[np.int64]:
    """Returns the sum over the tokens of each text from ``start`` on, at most ``TOKENIZED_AT_ONCE`` texts."""
    offsets = ids.offsets[start : start + TOKENIZED_AT_ONCE + 1]
    # Every text has a token, BOS at least.
    return np.add.reduceat(of_tokens[ids.flat[offsets[0] : offsets[-1]]], offsets[:-1] - offsets[0])


def _cut(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> tuple[TokenIds, list[str]]:
    """Returns the first ``limit`` ids of each text, and the texts that these ids stand for."""
    ids, cut_texts = TokenIds.of(texts, tokenizer, limit, lossless=True), list(texts)
    for index in np.flatnonzero(ids.cut).tolist():
        cut_texts[index] = tokenizer.decode([ids[index].tolist()])[0]
    if (encoder := tokenizer.encoder) is not None:
        ids = replace(ids, encoder=TokenIds.of(cut_texts, encoder.tokenizer, encoder.positions))
    return ids, cut_texts

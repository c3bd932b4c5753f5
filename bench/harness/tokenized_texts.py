"""Texts to batches: ids with the counts that scores divide by, and batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.backbones import Tokenizer
from bench.batch import Batch, Ids
from bench.bootstrap import Array
from bench.cache import AnyArray
from bench.tasks.task import Example

VERSION = 1
"""Rises whenever the same texts and tokenizer give other ids or counts."""

PARTS = ("ids", "sources", "encoder", "encoder_sources")
"""What of the texts is token ids."""

TOKENIZED_AT_ONCE = 4096
"""Texts; changes memory only: tokenizers say so much of each token that all of a large split would not fit."""


@dataclass(frozen=True, eq=False)
class TokenIds:
    """N texts as token ids, one behind the other in one array.

    Attributes:
        flat: ids of all texts.
        offsets: where each text begins in ``flat``, and where the last one ends (N + 1).
        cut: which texts were too long; these keep their beginning and have no EOS (N).
        pad: id of padding.
    """

    flat: Ids
    offsets: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]
    pad: int

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> TokenIds:
        """Tokenizes texts and cuts what is longer than ``limit``."""
        rows, cut = [np.empty(0, dtype=np.int32)], []
        for start in range(0, len(texts), TOKENIZED_AT_ONCE):
            for ids in tokenizer.encode(texts[start : start + TOKENIZED_AT_ONCE]):
                rows.append(np.array(ids[:limit], dtype=np.int32))
                cut.append(len(ids) > limit)
        offsets = np.cumsum([len(row) for row in rows])
        return cls(np.concatenate(rows), offsets, np.array(cut, dtype=np.bool_), tokenizer.pad)

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

    def batch(self, indices: Sequence[int], condition: Batch | None = None, encoder: Batch | None = None) -> Batch:
        """Returns the texts at ``indices``, beside what they are conditioned on and what an own encoder reads."""
        return Batch.collate([self[index] for index in indices], self.pad, condition, encoder)

    def arrays(self, part: str) -> dict[str, AnyArray]:
        """Returns all attributes as arrays, their names beginning with ``part``."""
        return {
            f"{part}.flat": self.flat,
            f"{part}.offsets": self.offsets,
            f"{part}.cut": self.cut,
            f"{part}.pad": np.array(self.pad),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray], part: str) -> TokenIds:
        """Returns what ``arrays`` made arrays of."""
        flat, offsets, cut, pad = (arrays[f"{part}.{name}"] for name in ("flat", "offsets", "cut", "pad"))
        return cls(flat, offsets, cut, int(pad))


@dataclass(frozen=True)
class EncoderTokens:
    """What a system's own encoder takes: texts in the tokens of ``tokenizer``, at most ``positions`` of them."""

    tokenizer: Tokenizer
    positions: int

    def of(self, texts: Sequence[str]) -> TokenIds:
        """Tokenizes texts and cuts what is too long."""
        return TokenIds.of(texts, self.tokenizer, self.positions)


@dataclass(frozen=True, eq=False)
class TokenizedTexts:
    """The texts of a split as ids, BOS and EOS included, cut where they are too long.

    Attributes:
        ids: of the texts (a conditional task's targets).
        words: whitespace-separated words of each (kept) text (N).
        bytes: UTF-8 bytes of each (kept) text (N).
        sources: ids of what each text is conditioned on; None without conditions.
        encoder: the (kept) texts as the system's own encoder reads them, if it has one.
        encoder_sources: the same of their sources.
    """

    ids: TokenIds
    words: Array
    bytes: Array
    sources: TokenIds | None = None
    encoder: TokenIds | None = None
    encoder_sources: TokenIds | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cuts(self) -> dict[str, int]:
        """How many were too long, by the words that say of what."""
        parts = {
            "texts were cut": self.ids,
            "sources were cut": self.sources,
            "texts were cut for the encoder": self.encoder,
            "sources were cut for the encoder": self.encoder_sources,
        }
        return {what: int(ids.cut.sum()) if ids else 0 for what, ids in parts.items()}

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text and its source, BOS included: what a batch has to hold (N)."""
        return self.ids.lengths + self.sources.lengths if self.sources else self.ids.lengths

    @cached_property
    def predicted(self) -> Array:
        """Predicted tokens of each text: all but BOS (N)."""
        return (self.ids.lengths - 1).astype(np.float64)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Returns the texts at ``indices`` as a batch, with their sources if they have any."""
        encoder = self.encoder.batch(indices) if self.encoder else None
        return self.ids.batch(indices, self.conditions(indices), encoder)

    def conditions(self, indices: Sequence[int]) -> Batch | None:
        """Returns the sources of the texts at ``indices``, or None without sources."""
        encoder = self.encoder_sources.batch(indices) if self.encoder_sources else None
        return self.sources.batch(indices, encoder=encoder) if self.sources else None

    def arrays(self) -> dict[str, AnyArray]:
        """Returns all of it as arrays by name."""
        named = {"words": self.words, "bytes": self.bytes}
        for part in PARTS:
            if ids := getattr(self, part):
                named |= ids.arrays(part)
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> TokenizedTexts:
        """Returns what ``arrays`` made arrays of."""
        ids = {part: TokenIds.from_arrays(arrays, part) for part in PARTS if f"{part}.flat" in arrays}
        return cls(words=arrays["words"], bytes=arrays["bytes"], **ids)


def tokenize(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    max_tokens: int,
    max_source_tokens: int | None = None,
    encoder: EncoderTokens | None = None,
) -> TokenizedTexts:
    """Tokenizes examples and cuts what is too long.

    Args:
        examples: pairs, or texts alone.
        tokenizer: for both sides.
        max_tokens: longest text, BOS included.
        max_source_tokens: longest source, BOS included; None leaves sources out.
        encoder: what the system's own encoder takes; it reads what is left of a text that was cut.
    """
    ids, texts = _kept([example.target for example in examples], tokenizer, max_tokens)
    tokenized = TokenizedTexts(
        ids,
        words=np.array([len(text.split()) for text in texts], dtype=np.float64),
        bytes=np.array([len(text.encode()) for text in texts], dtype=np.float64),
        encoder=encoder.of(texts) if encoder else None,
    )
    if max_source_tokens is None:
        return tokenized
    source_ids, sources = _kept([example.source or "" for example in examples], tokenizer, max_source_tokens)
    return replace(tokenized, sources=source_ids, encoder_sources=encoder.of(sources) if encoder else None)


def _kept(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> tuple[TokenIds, list[str]]:
    """Returns the first ids of each text, and the texts they stand for."""
    ids, kept = TokenIds.of(texts, tokenizer, limit), list(texts)
    for index in np.flatnonzero(ids.cut).tolist():
        kept[index] = tokenizer.decode([ids[index].tolist()])[0]
    return ids, kept

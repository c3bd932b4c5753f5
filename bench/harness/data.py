"""Texts to batches: ids with the counts that scores divide by, and batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.backbones import Tokenizer
from bench.interface import Batch
from bench.score import Array
from bench.tasks.task import Example


@dataclass(frozen=True)
class EncoderTexts:
    """Texts as a system's own encoder reads them.

    Attributes:
        ids: of each text, in the tokens of the encoder.
        pad: id of its padding.
        cut: number of texts longer than it reads; these keep their beginning.
    """

    ids: tuple[list[int], ...]
    pad: int
    cut: int

    def batch(self, indices: Sequence[int]) -> Batch:
        """Returns the texts at ``indices``."""
        return Batch.collate([self.ids[index] for index in indices], self.pad)


@dataclass(frozen=True)
class EncoderTokens:
    """What a system's own encoder takes: texts in the tokens of ``tokenizer``, at most ``positions`` of them."""

    tokenizer: Tokenizer
    positions: int

    def of(self, texts: Sequence[str]) -> EncoderTexts:
        """Tokenizes texts and cuts what is too long."""
        ids = self.tokenizer.encode(texts)
        cut = sum(len(text) > self.positions for text in ids)
        return EncoderTexts(tuple(text[: self.positions] for text in ids), self.tokenizer.pad, cut)


@dataclass(frozen=True)
class TokenizedTexts:
    """The texts of a split as ids, BOS and EOS included, cut where they are too long.

    Attributes:
        ids: token ids of each text (a conditional task's target).
        words: whitespace-separated words of each (kept) text (N).
        bytes: UTF-8 bytes of each (kept) text (N).
        cut: number of texts that were too long; they have no EOS.
        sources: token ids of what each text is conditioned on; empty without conditions.
        sources_cut: number of sources that were too long; these keep their beginning.
        encoder: the (kept) texts as the system's own encoder reads them, if it has one.
        encoder_sources: the same of their sources.
    """

    ids: tuple[list[int], ...]
    words: Array
    bytes: Array
    cut: int
    sources: tuple[list[int], ...] = ()
    sources_cut: int = 0
    encoder: EncoderTexts | None = None
    encoder_sources: EncoderTexts | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cuts(self) -> dict[str, int]:
        """How many were too long, by the words that say of what."""
        return {
            "texts were cut": self.cut,
            "sources were cut": self.sources_cut,
            "texts were cut for the encoder": self.encoder.cut if self.encoder else 0,
            "sources were cut for the encoder": self.encoder_sources.cut if self.encoder_sources else 0,
        }

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text and its source, BOS included: what a batch has to hold."""
        if not self.sources:
            return [len(text) for text in self.ids]
        return [len(text) + len(source) for text, source in zip(self.ids, self.sources, strict=True)]

    @property
    def predicted(self) -> Array:
        """Predicted tokens of each text: all but BOS (N)."""
        return np.array([len(text) - 1 for text in self.ids], dtype=np.float64)

    def batch(self, indices: Sequence[int], pad: int) -> Batch:
        """Returns the texts at ``indices`` as a batch, with their sources if they have any."""
        encoder = self.encoder.batch(indices) if self.encoder else None
        return Batch.collate([self.ids[index] for index in indices], pad, self.conditions(indices, pad), encoder)

    def conditions(self, indices: Sequence[int], pad: int) -> Batch | None:
        """Returns the sources of the texts at ``indices``, or None without sources."""
        if not self.sources:
            return None
        encoder = self.encoder_sources.batch(indices) if self.encoder_sources else None
        return Batch.collate([self.sources[index] for index in indices], pad, encoder=encoder)


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
    ids, texts, cut = _cut([example.target for example in examples], tokenizer, max_tokens)
    sources = [] if max_source_tokens is None else [example.source or "" for example in examples]
    source_ids, sources, sources_cut = _cut(sources, tokenizer, max_source_tokens or 0)
    return TokenizedTexts(
        tuple(ids),
        np.array([len(text.split()) for text in texts], dtype=np.float64),
        np.array([len(text.encode()) for text in texts], dtype=np.float64),
        cut,
        tuple(source_ids),
        sources_cut,
        encoder.of(texts) if encoder else None,
        encoder.of(sources) if encoder else None,
    )


def _cut(texts: list[str], tokenizer: Tokenizer, max_tokens: int) -> tuple[list[list[int]], list[str], int]:
    """Returns the first ids of each text, the texts they stand for, and how many texts were too long."""
    ids = tokenizer.encode(texts)
    too_long = [index for index, text in enumerate(ids) if len(text) > max_tokens]
    for index in too_long:
        ids[index] = ids[index][:max_tokens]
        texts[index] = tokenizer.decode([ids[index]])[0]
    return ids, texts, len(too_long)


def batches_of_similar_length(
    lengths: Sequence[int], batch_tokens: int, rng: np.random.Generator | None = None
) -> list[list[int]]:
    """Groups texts so that each batch, padded to its longest text, holds at most ``batch_tokens`` tokens.

    Args:
        lengths: tokens of each text.
        batch_tokens: budget; a single longer text still makes a batch of its own.
        rng: mixes texts of equal length and the order of batches, so that every epoch differs; the number of batches
            does not depend on it. Without it, texts go by length and index.

    Returns:
        Indices of the texts of each batch.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    batches: list[list[int]] = [[]]
    for index in order.tolist():
        # Sorted by length: the newest text is the longest, and decides what the batch is padded to.
        if batches[-1] and (len(batches[-1]) + 1) * lengths[index] > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    if rng is not None:
        batches = [batches[place] for place in rng.permutation(len(batches))]
    return batches

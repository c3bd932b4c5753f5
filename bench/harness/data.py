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
class TokenizedTexts:
    """The texts of a split as ids, BOS and EOS included, cut where they are too long.

    Attributes:
        ids: token ids of each text (a conditional task's target).
        words: whitespace-separated words of each (kept) text (N).
        bytes: UTF-8 bytes of each (kept) text (N).
        cut: number of texts that were too long; they have no EOS.
        sources: token ids of what each text is conditioned on; empty without conditions.
        sources_cut: number of sources that were too long; these keep their beginning.
    """

    ids: tuple[list[int], ...]
    words: Array
    bytes: Array
    cut: int
    sources: tuple[list[int], ...] = ()
    sources_cut: int = 0

    def __len__(self) -> int:
        return len(self.ids)

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
        return Batch.collate([self.ids[index] for index in indices], pad, self.conditions(indices, pad))

    def conditions(self, indices: Sequence[int], pad: int) -> Batch | None:
        """Returns the sources of the texts at ``indices``, or None without sources."""
        return Batch.collate([self.sources[index] for index in indices], pad) if self.sources else None


def tokenize(
    examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int, max_source_tokens: int | None = None
) -> TokenizedTexts:
    """Tokenizes examples and cuts what is too long.

    Args:
        examples: pairs, or texts alone.
        tokenizer: for both sides.
        max_tokens: longest text, BOS included.
        max_source_tokens: longest source, BOS included; None leaves sources out.
    """
    texts = [example.target for example in examples]
    ids = tokenizer.encode(texts)
    too_long = [index for index, text in enumerate(ids) if len(text) > max_tokens]
    for index in too_long:
        ids[index] = ids[index][:max_tokens]
        texts[index] = tokenizer.decode([ids[index]])[0]
    sources: list[list[int]] = []
    if max_source_tokens is not None:
        sources = tokenizer.encode([example.source or "" for example in examples])
    return TokenizedTexts(
        tuple(ids),
        np.array([len(text.split()) for text in texts], dtype=np.float64),
        np.array([len(text.encode()) for text in texts], dtype=np.float64),
        len(too_long),
        tuple(source[:max_source_tokens] for source in sources),
        sum(len(source) > (max_source_tokens or 0) for source in sources),
    )


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

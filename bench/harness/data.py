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
        ids: token ids of each text.
        words: whitespace-separated words of each (kept) text (N).
        bytes: UTF-8 bytes of each (kept) text (N).
        cut: number of texts that were too long; they have no EOS.
    """

    ids: tuple[list[int], ...]
    words: Array
    bytes: Array
    cut: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text, BOS included."""
        return [len(text) for text in self.ids]

    @property
    def predicted(self) -> Array:
        """Predicted tokens of each text: all but BOS (N)."""
        return np.array([len(text) - 1 for text in self.ids], dtype=np.float64)

    def batch(self, indices: Sequence[int], pad: int) -> Batch:
        """Returns the texts at ``indices`` as a batch."""
        return Batch.collate([self.ids[index] for index in indices], pad)


def tokenize(examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> TokenizedTexts:
    """Tokenizes the targets of examples and cuts them to ``max_tokens``, BOS included."""
    texts = [example.target for example in examples]
    ids = tokenizer.encode(texts)
    too_long = [index for index, text in enumerate(ids) if len(text) > max_tokens]
    for index in too_long:
        ids[index] = ids[index][:max_tokens]
        texts[index] = tokenizer.decode([ids[index]])[0]
    return TokenizedTexts(
        tuple(ids),
        np.array([len(text.split()) for text in texts], dtype=np.float64),
        np.array([len(text.encode()) for text in texts], dtype=np.float64),
        len(too_long),
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

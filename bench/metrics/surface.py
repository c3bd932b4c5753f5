"""What can be read off the samples directly: copies of training texts, lengths, empty texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.bootstrap import Array
from bench.metric import Signature, signature
from bench.metrics.text import MeanOverTexts, TextSet


@dataclass(frozen=True)
class CopyRate(MeanOverTexts):
    """Share of the samples that repeat a training text word for word; runs of whitespace count as one space."""

    name = "Copy rate"
    version = 1
    unit = "%"
    direction = "down"

    def supports(self, inputs: TextSet) -> str | None:
        """Needs the training texts."""
        return inputs.lacks(train=True)

    def signature(self, inputs: TextSet) -> Signature:
        """Returns the number of training texts."""
        return signature(self.name, self.version, match="words", train=len(inputs.train))

    def statistics(self, inputs: TextSet) -> Array:
        """Returns 1 for every copy, else 0 (texts x 1)."""
        self.require(inputs)
        known = {tuple(text.split()) for text in inputs.train}
        return np.array([[float(tuple(text.split()) in known)] for text in inputs.samples])


@dataclass(frozen=True)
class Length(MeanOverTexts):
    """Mean number of tokens; neither direction is better.

    Attributes:
        tokenizer: see `bench.metrics.tokens`.
    """

    name = "Length"
    version = 1
    unit = "count"
    direction = None

    tokenizer: str = "13a"

    def signature(self, inputs: TextSet) -> Signature:
        """Returns the tokenizer."""
        return signature(self.name, self.version, tok=self.tokenizer)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the number of tokens of every sample (texts x 1)."""
        return inputs.tokens("samples", self.tokenizer).lengths[:, None].astype(np.float64)


@dataclass(frozen=True)
class EmptyRate(MeanOverTexts):
    """Share of the samples that hold nothing but whitespace."""

    name = "Empty rate"
    version = 1
    unit = "%"
    direction = "down"

    def signature(self, inputs: TextSet) -> Signature:
        """Returns what counts as empty."""
        return signature(self.name, self.version, empty="whitespace")

    def statistics(self, inputs: TextSet) -> Array:
        """Returns 1 for every empty sample, else 0 (texts x 1)."""
        return np.array([[float(not text.strip())] for text in inputs.samples])

"""Surface metrics of generated texts: copies of training texts, lengths, empty texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array, Bootstrap, Interval, interval_of_share
from bench.metrics.text import PerGenerationMetric, TextSet


class RateMetric(PerGenerationMetric):
    """A share of the generated texts, in %; its rows are 0 or 1."""

    unit = "%"

    @override
    def interval(self, inputs: TextSet, rows: Array, bootstrap: Bootstrap) -> Interval:
        # The texts of a source may all be equal, so they count as one.
        n = math.ceil(len(rows) / self.cluster_size(inputs))
        share = interval_of_share(float(rows.mean()), n, bootstrap.level)
        return replace(share, low=100.0 * share.low, high=100.0 * share.high)


@dataclass(frozen=True)
class CopyRate(RateMetric):
    """Share of the generated texts that repeat a training text word for word; a run of whitespace is one space."""

    name = "Copy rate"
    direction = "down"
    absolute_tolerance = 0.5
    needs = ("train",)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"match": "words", "train": len(inputs.train)}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        known = {tuple(text.split()) for text in inputs.train}
        return np.array([[float(tuple(text.split()) in known)] for text in inputs.generations])


@dataclass(frozen=True)
class Length(PerGenerationMetric):
    """Mean number of tokens; neither direction is better.

    Attributes:
        tokenizer: see `bench.metrics.tokens`.
    """

    name = "Length"
    unit = "count"
    direction = None

    tokenizer: str = "13a"

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"tok": self.tokenizer}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        return inputs.tokens("generations", self.tokenizer).lengths[:, None].astype(np.float64)


@dataclass(frozen=True)
class EmptyRate(RateMetric):
    """Share of the generated texts that hold nothing but whitespace."""

    name = "Empty rate"
    direction = "down"
    absolute_tolerance = 0.5

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"empty": "whitespace"}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        return np.array([[float(not text.strip())] for text in inputs.generations])

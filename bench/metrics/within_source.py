"""How much the samples of one source differ from each other: diversity as a conditional task asks for it.

Over all samples pooled, texts of different sources differ already because the sources do: a model that gives every
source one answer looks diverse. Within a source it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.bootstrap import Array
from bench.metric import Signature, signature
from bench.metrics.diversity import Dist, Dist1, Dist2, Diversity, Jaccard, Jaccard1, SelfBLEU
from bench.metrics.text import MeanOverTexts, TextSet


@dataclass(frozen=True)
class WithinSource(MeanOverTexts):
    """A diversity metric of the samples of each source, averaged over sources; its interval is over sources.

    Attributes:
        of: the metric.
        tokenizer: see `bench.metrics.tokens`.
    """

    version = 1
    unit = "%"
    of: ClassVar[type[SelfBLEU | Dist | Jaccard | Diversity]]

    tokenizer: str = "13a"

    def supports(self, inputs: TextSet) -> str | None:
        """Needs several samples per source."""
        return None if (inputs.per_source or 0) > 1 else "needs several samples per source"

    def cluster_size(self, inputs: TextSet) -> int:
        """Returns 1: a row is a source."""
        return 1

    def signature(self, inputs: TextSet) -> Signature:
        """Returns the metric's own, that it is taken within a source, and the samples of one."""
        own = self.of(tokenizer=self.tokenizer).signature(next(inputs.by_source(self.tokenizer)))
        return signature(self.name, self.version, **dict(own.fields), within="source", samples=inputs.per_source)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the metric of every source as a fraction (sources x 1)."""
        self.require(inputs)
        metric = self.of(tokenizer=self.tokenizer)
        return np.array([[metric.score(texts).value / 100.0] for texts in inputs.by_source(self.tokenizer)])


class SelfBLEUWithinSource(WithinSource):
    """Self-BLEU among the samples of each source, averaged over sources."""

    name = "Self-BLEU[source]"
    direction = "down"
    of = SelfBLEU


class Dist1WithinSource(WithinSource):
    """Share of distinct unigrams among the samples of each source, averaged over sources."""

    name = "Dist-1[source]"
    direction = "up"
    of = Dist1


class Dist2WithinSource(WithinSource):
    """Share of distinct bigrams among the samples of each source, averaged over sources."""

    name = "Dist-2[source]"
    direction = "up"
    of = Dist2


class JaccardWithinSource(WithinSource):
    """Mean Jaccard similarity of the pairs of samples of each source, averaged over sources."""

    name = "Jaccard[source]"
    direction = "down"
    of = Jaccard1


class DiversityWithinSource(WithinSource):
    """Mean distance of a sample to the most similar other sample of its source, averaged over sources."""

    name = "Diversity[source]"
    direction = "up"
    of = Diversity

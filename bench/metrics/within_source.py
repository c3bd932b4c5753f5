"""Diversity among the generated texts of one source, as conditional tasks need it.

Pooled over all sources, texts differ already because their sources do: a model that gives every source one answer looks
diverse. Within a source it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array
from bench.metric import Direction
from bench.metrics.diversity import Dist, Diversity, Jaccard, SelfBLEU
from bench.metrics.text import PerGenerationMetric, TextSet


@dataclass(frozen=True)
class WithinSource(PerGenerationMetric):
    """A diversity metric of the generated texts of each source, averaged over sources; its interval is over sources.

    Attributes:
        metric: the diversity metric.
        tokenizer: of that metric, see `bench.metrics.tokens`.
    """

    unit = "%"
    needs = ("sources",)

    metric: SelfBLEU | Dist | Jaccard | Diversity
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", replace(self.metric, tokenizer=self.tokenizer))

    @property
    @override
    def name(self) -> str:
        return f"{self.metric.name}[source]"

    @property
    @override
    def direction(self) -> Direction | None:
        return self.metric.direction

    @override
    def cluster_size(self, inputs: TextSet) -> int:
        """Returns 1: each row is a source."""
        return 1

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        fields = self.metric.fields(next(inputs.by_source(self.tokenizer)))
        return {**fields, "within": "source", "samples": inputs.per_source}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        scores = (self.metric.score(texts) for texts in inputs.by_source(self.tokenizer))
        return np.array([[score.value / 100.0] for score in scores])


self_bleu = partial(WithinSource, SelfBLEU())
"""Self-BLEU among the generated texts of each source, averaged over sources."""
dist_1 = partial(WithinSource, Dist(1))
"""Share of distinct unigrams among the generated texts of each source, averaged over sources."""
dist_2 = partial(WithinSource, Dist(2))
"""Share of distinct bigrams among the generated texts of each source, averaged over sources."""
jaccard = partial(WithinSource, Jaccard())
"""Mean Jaccard similarity of the pairs of generated texts of each source, averaged over sources."""
diversity = partial(WithinSource, Diversity())
"""Mean distance of a generated text to the most similar other one of its source, averaged over sources."""

"""Probes: how well a text's true latent factors can be predicted from its posterior mean.

A grammar draws its texts from factors such as topic or sentiment, so the true factors of each text are known. A linear
classifier predicts them, on texts that it was not fitted on. Means are not rescaled: a dimension whose means hardly
differ would need large weights, which the penalty prevents; the decoder cannot distinguish such means either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array
from bench.metric import Direction, PerTextMetric
from bench.metrics.folds import predict_most_frequent
from bench.metrics.model import ModelMetric, ScoredTexts

FOLDS = 5
PENALTY = 1.0


def probe(mean: Array, groups: Sequence[int], factors: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """Returns for each factor whether its value is predicted right, text by text, by several predictors.

    Args:
        mean: posterior means (N x D).
        groups: sizes of the latent groups.
        factors: true values by factor (N each).

    Returns:
        By factor, 1 where the prediction is right and 0 where it is not (N x predictors). The predictors are: the most
        frequent value, the means of all groups, and, where there are several groups, the means of each. NaN if any mean
        is not finite; empty with fewer than ``FOLDS`` texts.
    """
    # Imported here: reading records and listing metrics need no torch.
    from bench.metrics.logistic import predict_held_out

    if not factors or len(mean) < FOLDS:
        return {}
    parts = np.split(mean, np.cumsum(groups)[:-1], axis=1) if len(groups) > 1 else []
    if not np.isfinite(mean).all():
        return {name: np.full((len(mean), 2 + len(parts)), np.nan) for name in factors}
    labels = [np.unique(values, return_inverse=True)[1] for values in factors.values()]
    most_frequent = [predict_most_frequent(classes, FOLDS) for classes in labels]
    predictions = [most_frequent, *(predict_held_out(features, labels, PENALTY, FOLDS) for features in (mean, *parts))]
    return {
        name: np.stack([predicted[i] == labels[i] for predicted in predictions], axis=1).astype(np.float64)
        for i, name in enumerate(factors)
    }


@dataclass(frozen=True)
class FactorAccuracy(PerTextMetric[ScoredTexts], ModelMetric):
    """Share of the texts for which a true latent factor is predicted right.

    Attributes:
        factor: name of the factor, or None for the mean over all.
    """

    unit = "%"
    tolerance = 0.05

    factor: str | None = None

    @property
    def predictor(self) -> int:
        """Column of the hits, see ``probe``."""
        return 0

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        if reason := super().supports(inputs):
            return reason
        if len(inputs) < FOLDS:
            return f"needs at least {FOLDS} texts, got {len(inputs)}"
        return None if inputs.probe_hits else "the latent factors of real text are not known"

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        hits = inputs.probe_hits.values() if self.factor is None else [inputs.probe_hits[self.factor]]
        return np.mean([of_factor[:, [self.predictor]] for of_factor in hits], axis=0)


@dataclass(frozen=True)
class Probe(FactorAccuracy):
    """Accuracy of a logistic regression from posterior means to a true latent factor, on held-out texts, percent.

    Attributes:
        factor: name of the factor, or None for the mean over all.
        group: number of the only latent group used, from 1, or None for all.
    """

    direction: ClassVar[Direction | None] = "up"

    group: int | None = None

    @property
    @override
    def name(self) -> str:
        return "".join(["Probe", *(f"[{part}]" for part in (self.factor, self.group) if part is not None)])

    @property
    @override
    def predictor(self) -> int:
        return 1 + (self.group or 0)

    @override
    def variants(self, groups: Sequence[int], factors: Sequence[str]) -> Iterable[ModelMetric]:
        return [Probe(factor, group) for factor in (None, *factors) for group in (None, *groups)][1:]

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        return super().supports(inputs) if inputs.groups else "no latent variable"

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        classifier = {"model": "logistic", "l2": PENALTY, "folds": FOLDS, "of": "means"}
        return {**classifier, "group": self.group or "all", "n": len(inputs)}


class MajorityRate(FactorAccuracy):
    """Accuracy of predicting the most frequent value of a true latent factor, percent: the baseline of the probe."""

    direction = None
    version = 2  # 1: the intercepts of a regression, where rounding chose among equally frequent values

    @property
    @override
    def name(self) -> str:
        return "Majority" if self.factor is None else f"Majority[{self.factor}]"

    @override
    def variants(self, groups: Sequence[int], factors: Sequence[str]) -> Iterable[ModelMetric]:
        return map(MajorityRate, factors)

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"folds": FOLDS, "n": len(inputs)}

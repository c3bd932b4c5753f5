"""Latent metrics: how much information about the text the latent variables hold, and in how many dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array, Bootstrap, Interval
from bench.metric import Score
from bench.metrics.likelihood import LatentMetric
from bench.metrics.model import ModelMetric, ScoredTexts


class MutualInformation(LatentMetric):
    """I(x; z) under the posterior, nats: E log q(z | x) - E log q(z), q(z) the average of q(z | x) over all N texts.

    The aggregated posterior contains the sample's own text: the estimate cannot exceed ln N (Hoffman & Johnson 2016).
    Both terms are of the same one sample of z per text: a posterior equal to the prior gives 0 exactly, and a small
    value can come out negative. Li et al. (2019) take the first term in closed form, the negative entropy of q(z | x),
    which a hierarchy does not have; their estimate has the same expectation. Hence ``est:mc`` in the signature.

    With sources it is I(x, c; z), as the signature says: the average is over pairs (x, c), and a posterior that only
    follows its source has a large value. I(x; z | c), what z holds of a text beyond its source, would need several
    texts per source; it is at most the KL.
    """

    name = "MI"
    direction = "up"
    tolerance = 0.05
    absolute_tolerance = 0.02

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"est": "mc", "K": 1, "aggregate": "all", "of": inputs.variation, "sum": "groups", "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return (inputs.log_q - inputs.log_q_aggregated)[:, None]


def count_active_units(
    mean: Array, noise: Array, delta: float, bootstrap: Bootstrap | None
) -> tuple[float, Interval | None]:
    """Returns the number of dimensions whose means vary over texts by more than ``delta``, with its interval.

    Args:
        mean: means (N x D).
        noise: part of each mean's variance that is sampling noise, subtracted on average (N x D).
        delta: threshold on the unbiased variance (N - 1).
        bootstrap: resampling behind the interval; None for none.
    """
    centred = mean - mean.mean(axis=0)  # keeps the variance and makes its rounding error smaller
    rows = np.concatenate([centred, centred**2, noise], axis=1)

    def count(means: Array, n: int) -> Array:
        first, second, error = np.split(means, 3, axis=-1)
        variance = (second - first**2) * n / (n - 1) - error
        active: Array = (variance > delta).sum(axis=-1).astype(np.float64)
        return active

    interval = bootstrap.interval(rows, count) if bootstrap is not None else None
    return float(count(rows.mean(axis=0), len(rows))), interval


class LatentVarianceMetric(ModelMetric):
    """A metric that counts latent dimensions by the variance of their posterior means over texts."""

    unit = "count"
    direction = "up"
    tolerance = 0.1

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        if not inputs.groups:
            return "no latent variable"
        return super().supports(inputs) or (None if len(inputs) > 1 else "one text has no variance")


@dataclass(frozen=True)
class ActiveUnits(LatentVarianceMetric):
    """Number of latent dimensions whose posterior mean varies over texts by more than ``delta`` (Burda et al. 2016).

    Below the first group the mean depends on sampled ancestors. It is averaged over K samples of them, and the noise
    that they add to the variance over texts, the squared standard error, is subtracted. So a collapsed posterior has
    no active unit however noisy its ancestors, if K is large enough: the remaining error, sqrt(2 / N) times the noise
    over K, must stay below ``delta``. Variances are unbiased (N - 1). With sources, a mean that only follows its source
    varies too, as the signature says.

    Attributes:
        delta: threshold on the variance; 0.01 in Burda, He, Li and Optimus.
        group: number of the only group counted, from 1, or None for all.
    """

    delta: float = 0.01
    group: int | None = None

    @property
    @override
    def name(self) -> str:
        threshold = "" if self.delta == ActiveUnits.delta else f"({self.delta:g})"
        return f"AU{threshold}" if self.group is None else f"AU{threshold}[{self.group}]"

    @override
    def variants(self, groups: Sequence[int], factors: Sequence[str]) -> Iterable[ModelMetric]:
        """Returns the active units of each group, at the default threshold alone."""
        return [ActiveUnits(group=group) for group in groups if self.delta == ActiveUnits.delta]

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        if len(inputs.groups) > 1 and inputs.n_samples == 1:
            return "the noise of sampled ancestors cannot be told from one sample"
        return super().supports(inputs)

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        statistic = {"delta": self.delta, "stat": "var-of-means", "noise": "removed", "group": self.group or "all"}
        return {**statistic, "of": inputs.variation, "n": len(inputs)}

    @override
    def score(self, inputs: ScoredTexts, bootstrap: Bootstrap | None = None) -> Score:
        self.require(inputs)
        mean, noise = inputs.mean, inputs.mean_noise
        if self.group is not None:
            ends = np.cumsum(inputs.groups)[:-1]
            mean, noise = (np.split(columns, ends, axis=1)[self.group - 1] for columns in (mean, noise))
        value, interval = count_active_units(mean, noise, self.delta, bootstrap)
        return self._score(inputs, value, len(inputs), interval)


active_units_above_01 = partial(ActiveUnits, 0.1)
"""Active units at the threshold 0.1."""
active_units_above_02 = partial(ActiveUnits, 0.2)
"""Active units at the threshold 0.2."""

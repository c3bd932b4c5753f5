"""Latent metrics: how much of the text is in the latent variables, and in how many of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.bootstrap import Array, Bootstrap, Interval
from bench.metric import Metric, Score, Signature, signature
from bench.metrics.likelihood import LatentLikelihoodMetric, ScoredTexts


class MutualInformation(LatentLikelihoodMetric):
    """I(x; z) under the posterior, nats: E log q(z | x) - E log q(z), q(z) the average of q(z | x) over all N texts.

    The aggregated posterior contains the sample's own text, so the estimate cannot exceed ln N; one sample of z per
    text is used, so a small value can come out negative (Hoffman & Johnson 2016; Li et al. 2019 for the estimator).

    With sources it is I(x, c; z), as the signature says: the average is over pairs (x, c), and a posterior that only
    follows its source has a large value. What z holds of a text beyond its source, I(x; z | c), would need several
    texts per source; it is at most the KL.
    """

    name = "MI"
    direction = "up"
    tolerance = 0.05

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the aggregate and its ceiling's N."""
        return signature(self.name, self.version, aggregate="all", of=inputs.varied, sum="groups", n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: log q(z | x) - log q(z)."""
        return (inputs.log_q - inputs.log_q_aggregated)[:, None]


def count_active(mean: Array, noise: Array, delta: float, bootstrap: Bootstrap | None) -> tuple[float, Interval | None]:
    """Returns how many dimensions have means that vary over texts by more than ``delta``, with its interval.

    Args:
        mean: means (N x D).
        noise: part of each mean's variance that is sampling noise, subtracted on average (N x D).
        delta: threshold on the unbiased variance (N - 1).
        bootstrap: resampling behind the interval; None for none.
    """
    centred = mean - mean.mean(axis=0)  # the variance does not move, its rounding error shrinks
    rows = np.concatenate([centred, centred**2, noise], axis=1)

    def count(means: Array, n: int) -> Array:
        first, second, error = np.split(means, 3, axis=-1)
        variance = (second - first**2) * n / (n - 1) - error
        active: Array = (variance > delta).sum(axis=-1).astype(np.float64)
        return active

    interval = bootstrap.interval(rows, count) if bootstrap is not None else None
    return float(count(rows.mean(axis=0), len(rows))), interval


class OfLatentVariance(Metric[ScoredTexts]):
    """A metric that says in how many latent dimensions texts differ."""

    version = 1
    unit = "count"
    direction = "up"
    tolerance = 0.1

    def supports(self, inputs: ScoredTexts) -> str | None:
        """Needs at least one latent group, and two texts to vary over."""
        if not inputs.groups:
            return "no latent variable"
        return None if len(inputs) > 1 else "one text has no variance"


@dataclass(frozen=True)
class ActiveUnits(OfLatentVariance):
    """Number of latent dimensions whose posterior mean varies over texts by more than ``delta`` (Burda et al. 2016).

    Below the first group the mean depends on sampled ancestors. It is averaged over K samples of them, and what
    their noise adds to the variance over texts, the squared standard error, is subtracted: a collapsed posterior has
    no active unit however noisy its ancestors, if K is large enough for what is left, sqrt(2 / N) times the noise over
    K, to stay below ``delta``. Variances are unbiased (N - 1). With sources, a mean that only follows
    its source varies too, as the signature says.

    Attributes:
        delta: threshold on the variance; 0.01 in Burda, He, Li and Optimus, 0.2 in the released DELLA code.
        group: number of the only group counted, from 1, or None for all.
    """

    delta: float = 0.01
    group: int | None = None

    def __post_init__(self) -> None:
        threshold = "" if self.delta == ActiveUnits.delta else f"({self.delta:g})"
        group = "" if self.group is None else f"[{self.group}]"
        object.__setattr__(self, "name", f"AU{threshold}{group}")

    def supports(self, inputs: ScoredTexts) -> str | None:
        """Needs two samples of the ancestors, where there are any."""
        if len(inputs.groups) > 1 and inputs.n_samples == 1:
            return "the noise of sampled ancestors cannot be told from one sample"
        return super().supports(inputs)

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States threshold and statistic."""
        return signature(
            self.name,
            self.version,
            delta=self.delta,
            stat="var-of-means",
            noise="removed",
            group=self.group or "all",
            of=inputs.varied,
            n=len(inputs),
        )

    def variances(self, inputs: ScoredTexts) -> Array:
        """Returns the variance over texts of every dimension's mean, sampling noise removed (D); may be negative."""
        columns = self._columns(inputs)
        variance: Array = inputs.mean[:, columns].var(axis=0, ddof=1) - inputs.mean_noise[:, columns].mean(axis=0)
        return variance

    def score(self, inputs: ScoredTexts, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the number of active units and, with ``bootstrap``, its interval over texts."""
        columns = self._columns(inputs)
        value, interval = count_active(inputs.mean[:, columns], inputs.mean_noise[:, columns], self.delta, bootstrap)
        return self._score(inputs, value, len(inputs), interval)

    def _columns(self, inputs: ScoredTexts) -> slice:
        if self.group is None:
            return slice(0, sum(inputs.groups))
        start = sum(inputs.groups[: self.group - 1])
        return slice(start, start + inputs.groups[self.group - 1])

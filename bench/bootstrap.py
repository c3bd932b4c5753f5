"""Resampling over texts: intervals and paired tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

Array = npt.NDArray[np.float64]
Aggregate = Callable[[Array, int], Array]
"""Maps column means (... x columns) over a number of texts to values (...)."""

MOST_COUNTS_KEPT = 2**21
"""Up to so many draws of a text are kept for the next test over equally many texts (16 MB)."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval in the unit of the score."""

    low: float
    high: float
    level: float = 0.95
    method: str = "bootstrap"


def interval_of_share(share: float, n: int, level: float = 0.95) -> Interval:
    """Returns the interval of a share of n independent texts (Wilson 1927): resamples of no hit have no spread.

    Args:
        share: between 0 and 1.
        n: number of texts.
        level: of the interval.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Interval(min(max(0.0, centre - half), share), max(min(1.0, centre + half), share), level, f"wilson:{n}")


@dataclass(frozen=True)
class Bootstrap:
    """Resampling over texts: settings and seed of every interval and paired test.

    Attributes:
        samples: number of resamples.
        seed: seed of the resampling; the same seed resamples the same texts for two systems (a paired test).
        level: coverage of the percentile interval.
    """

    samples: int = 1000
    seed: int = 12345
    level: float = 0.95

    def means(self, rows: Array, cluster_size: int = 1) -> Array:
        """Returns resampled column means (samples x columns).

        A resample is a multinomial count per text, or per cluster of ``cluster_size`` consecutive texts (the last may
        be smaller): one matrix product replaces an index per draw. Blocks of it bound memory at 100 x texts.
        """
        starts = np.arange(0, len(rows), cluster_size)
        sums, sizes = np.add.reduceat(rows, starts), np.diff(starts, append=len(rows))
        n = len(starts)
        kept = self.samples * n <= MOST_COUNTS_KEPT
        counts = _kept_counts(self.samples, self.seed, n) if kept else _draw_counts(self.samples, self.seed, n)
        return np.concatenate([count @ sums / (count @ sizes)[:, None] for count in counts])

    def interval(self, rows: Array, aggregate: Aggregate, cluster_size: int = 1) -> Interval:
        """Returns the percentile interval of ``aggregate`` over resampled texts, or clusters of texts."""
        return self._interval(aggregate(self.means(rows, cluster_size), len(rows)), cluster_size)

    def _interval(self, values: Array, cluster_size: int = 1) -> Interval:
        """Returns the percentile interval of the values of all resamples."""
        tail = 50.0 * (1.0 - self.level)
        low, high = np.percentile(values, [tail, 100.0 - tail])
        clusters = f":clusters-of-{cluster_size}" if cluster_size > 1 else ""
        return Interval(float(low), float(high), self.level, f"bootstrap:{self.samples}:{self.seed}{clusters}")

    def interval_of_jackknife(self, value: float, without: Array, cluster_size: int = 1) -> Interval:
        """Returns the percentile interval of a statistic that is no mean over texts, for example of pairs of texts.

        The jackknife makes it one: the value plus the influence of each text, or cluster of texts, has the mean
        ``value`` and on average varies as the statistic does or more (Efron and Stein 1981). These sums are resampled.

        Args:
            value: of the statistic.
            without: value of the statistic without each cluster (clusters).
            cluster_size: texts in a cluster, which the method of the interval states.
        """
        rows = value + (len(without) - 1) * (without.mean() - without)
        interval = self.interval(rows[:, None], lambda means, n: means[..., 0])
        clusters = f":clusters-of-{cluster_size}" if cluster_size > 1 else ""
        return replace(interval, method=f"jackknife-{interval.method}{clusters}")


def _draw_counts(samples: int, seed: int, n: int) -> Iterator[Array]:
    """Yields how often each of n texts is in each resample, in blocks (100 x texts)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    p = np.full(n, 1.0 / n)
    for start in range(0, samples, 100):
        yield rng.multinomial(n, p, size=min(100, samples - start)).astype(np.float64)


@lru_cache(maxsize=2)
def _kept_counts(samples: int, seed: int, n: int) -> tuple[Array, ...]:
    """Returns the same, drawn once for all tests over equally many texts: drawing takes longer than all the rest."""
    return tuple(_draw_counts(samples, seed, n))


@dataclass(frozen=True)
class PairedResult:
    """Difference of two systems on the same texts (first minus second) with its interval and p-value."""

    difference: float
    interval: Interval
    p_value: float


def paired_bootstrap(
    aggregate: Aggregate, first: Array, second: Array, bootstrap: Bootstrap | None = None
) -> PairedResult | None:
    """Compares two systems on the same texts by resampling the texts jointly.

    The two-sided p-value counts resamples whose centred difference is at least as far from zero as the observed one;
    one is added above and below, so that it is never exactly zero.

    Returns:
        The result, or None if a value is infinite, of all texts or of a resample: it has no difference to another.

    Raises:
        BenchError: the two statistics do not have the same shape, so they are not over the same texts.
    """
    if first.shape != second.shape:
        raise BenchError(f"paired test: the statistics have the shapes {first.shape} and {second.shape}.")
    bootstrap = bootstrap or Bootstrap()
    columns = first.shape[1]
    both = np.concatenate([first, second], axis=1)

    def difference(means: Array, n: int) -> Array:
        return aggregate(means[..., :columns], n) - aggregate(means[..., columns:], n)

    with np.errstate(over="ignore", invalid="ignore"):  # infinity times zero texts, infinity minus infinity
        scores = [float(aggregate(rows.mean(axis=0), len(rows))) for rows in (first, second)]
        observed = scores[0] - scores[1]
        resampled = difference(bootstrap.means(both), len(both))
    if not (math.isfinite(observed) and np.isfinite(resampled).all()):
        return None
    # Many resamples of a discrete statistic lie exactly as far out as the observed difference. Rounding, which is
    # relative to the scores, must not decide whether they count.
    rounding = 1e-12 * max(map(abs, scores))
    extreme = int(np.sum(np.abs(resampled - observed) >= abs(observed) - rounding))
    return PairedResult(observed, bootstrap._interval(resampled), (extreme + 1) / (bootstrap.samples + 1))

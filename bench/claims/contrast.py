"""The difference of a metric between two rows, with an interval over seeds and texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance
from typing import Any, Final

from bench.bootstrap import Bootstrap, Interval, paired_bootstrap
from bench.metric import PerTextMetric
from bench.records.schema import RecordedScore
from bench.records.store import StoredRun

LEVEL: Final = 0.95
_BOOTSTRAP: Final = Bootstrap(samples=400)
"""Enough for a standard error; what decides is its distance from zero, not a percentile."""

ROUNDING_OF_COUNT: Final = 1 / 12
"""Variance of the rounding of a count to whole numbers: of a uniform distribution of width 1."""


@dataclass(frozen=True)
class Contrast:
    """A metric of a row minus that of another row, or minus a number.

    Attributes:
        first: mean of the row over seeds.
        second: mean of the other row over the same seeds, or the number.
        difference: first minus second.
        interval: of the difference, over seeds and texts.
        p_value: two-sided, of no difference.
        n_seeds: number of seeds; with one, the interval is over texts alone.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    p_value: float
    n_seeds: int


def contrast(
    rows: Sequence[StoredRun],
    others: Sequence[StoredRun] | float,
    metric: str,
    per_text: Mapping[str, PerTextMetric[Any]],
) -> Contrast | None:
    """Returns the difference of two rows; None unless they share a seed in which both have the metric.

    The variance of the mean difference is that over seeds, plus that over texts. The latter is not divided by the
    number of seeds, since all seeds score the same texts. The degrees of freedom are those of Welch and Satterthwaite.

    Args:
        rows: finished runs of the row, one per seed.
        others: finished runs of the other row, or a number.
        metric: its name.
        per_text: name to per-text metric, for paired errors over texts. Others have the errors of their own intervals.
    """
    number = others if isinstance(others, float) else None
    by_seed = {} if isinstance(others, float) else {run.record.seed: run for run in others}
    values: list[tuple[float, float]] = []
    errors: list[float] = []
    measured: list[RecordedScore] = []
    for run in sorted(rows, key=lambda run: run.record.seed):
        other = by_seed.get(run.record.seed)
        score, second = _score(run, metric), _score(other, metric) if other else None
        value = second.value if second else number
        if score is not None and value is not None:
            measured.append(score)
            values.append((score.value, value))
            errors.append(_error_over_texts(run, other, score, second, per_text.get(metric)))
    return _contrast(values, errors, measured[0].n or 0, measured[0].unit) if measured else None


def _contrast(values: Sequence[tuple[float, float]], errors: Sequence[float], n_texts: int, unit: str) -> Contrast:
    from scipy import stats

    differences = [first - second for first, second in values]
    n = len(differences)
    over_texts = fmean(error**2 for error in errors)
    rounding = 2 * ROUNDING_OF_COUNT / n if unit == "count" else 0.0
    over_seeds = variance(differences) / n if n > 1 else 0.0
    total = over_seeds + over_texts + rounding
    parts = [(over_seeds, n - 1), (over_texts, n_texts - 1)]
    weights = sum(part**2 / freedom for part, freedom in parts if freedom > 0)
    freedom = total**2 / weights if weights else math.inf
    mean, error = fmean(differences), math.sqrt(total)
    if error == 0:
        interval, p_value = Interval(mean, mean, LEVEL, "no spread"), float(mean == 0)
    else:
        distribution = stats.t(freedom) if math.isfinite(freedom) else stats.norm()
        margin = float(distribution.ppf(0.5 + LEVEL / 2)) * error
        interval = Interval(
            mean - margin, mean + margin, LEVEL, "t, over seeds and texts" if n > 1 else "t, over texts"
        )
        p_value = 2 * float(distribution.sf(abs(mean) / error))
    first, second = (fmean(column) for column in zip(*values, strict=True))
    return Contrast(first, second, mean, interval, p_value, n)


def _score(run: StoredRun, metric: str) -> RecordedScore | None:
    """Returns the score of a run on its test texts."""
    return next((score for score in run.record.metrics if score.name == metric and score.split == "test"), None)


def _error_over_texts(
    run: StoredRun,
    other: StoredRun | None,
    score: RecordedScore,
    second: RecordedScore | None,
    metric: PerTextMetric[Any] | None,
) -> float:
    """Returns the standard error of a difference over texts: paired if the statistics of both are stored.

    A score without an interval counts as exact.
    """
    if metric is not None and other is not None:
        rows, others = (of.statistics([metric.name]).get(metric.name) for of in (run, other))
        if rows is not None and others is not None and rows.shape == others.shape:
            paired = paired_bootstrap(metric.aggregate, rows, others, _BOOTSTRAP)
            if paired is not None:
                return _error(paired.interval)
    intervals = [of.interval for of in (score, second) if of is not None and of.interval is not None]
    return math.hypot(*map(_error, intervals))


def _error(interval: Interval) -> float:
    """Returns the standard error that an interval of a normal distribution implies."""
    return (interval.high - interval.low) / (2 * NormalDist().inv_cdf(0.5 + interval.level / 2))

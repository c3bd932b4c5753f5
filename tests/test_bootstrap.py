"""Intervals and paired tests, against slow definitions and scipy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench import bootstrap as module
from bench.bootstrap import Array, Bootstrap, paired_bootstrap
from bench.errors import BenchError
from tests.test_metric import Mean

# Both sides add the same at most 200 doubles in another order.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


class Perplexity(Mean):
    """A ratio of two columns behind an exponential, as perplexity is."""

    name = "ratio"

    def statistics(self, inputs: Array) -> Array:
        return inputs

    def aggregate(self, means: Array, n: int) -> Array:
        return np.exp(means[..., 0] / means[..., 1])


def two_columns(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, 40, n).astype(float)
    return np.stack([tokens * rng.gamma(4.0, 0.5, n), tokens], axis=1)


def index_resampling(rows: Array, bootstrap: Bootstrap) -> Array:
    """The textbook bootstrap: rows picked by index, as often as the multinomial counts say, then averaged."""
    n = len(rows)
    counts = np.random.Generator(np.random.PCG64(bootstrap.seed)).multinomial(n, [1 / n] * n, size=bootstrap.samples)
    return np.array([rows[np.repeat(np.arange(n), count)].mean(axis=0) for count in counts])


@pytest.mark.parametrize("samples", [1, 99, 100, 101, 250])
def test_bootstrap_is_index_resampling_and_blocks_change_nothing(samples: int) -> None:
    rows, bootstrap = two_columns(37), Bootstrap(samples, seed=5)
    np.testing.assert_allclose(bootstrap.means(rows), index_resampling(rows, bootstrap), **ROUNDING)


@pytest.mark.parametrize(("n", "size"), [(36, 4), (37, 4), (3, 7)])
def test_a_cluster_is_drawn_whole(n: int, size: int) -> None:
    rows, bootstrap = two_columns(n), Bootstrap(150, seed=5)
    clusters = [np.arange(first, min(first + size, n)) for first in range(0, n, size)]
    draws = np.random.Generator(np.random.PCG64(5)).multinomial(
        len(clusters), [1 / len(clusters)] * len(clusters), size=150
    )
    expected = [
        rows[np.concatenate([cluster for cluster, times in zip(clusters, draw, strict=True) for _ in range(times)])]
        for draw in draws
    ]
    np.testing.assert_allclose(
        bootstrap.means(rows, size), [resample.mean(axis=0) for resample in expected], **ROUNDING
    )


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_interval_is_the_percentiles_of_the_resampled_scores(level: float) -> None:
    inputs, bootstrap = two_columns(50), Bootstrap(400, seed=1, level=level)
    resampled = sorted(Perplexity().aggregate(index_resampling(inputs, bootstrap), 50).tolist())
    score = Perplexity().score(inputs, bootstrap)
    assert score.interval is not None
    for found, tail in ((score.interval.low, (1 - level) / 2), (score.interval.high, (1 + level) / 2)):
        place = tail * 399  # linear interpolation between order statistics
        below = int(place)
        assert found == pytest.approx(resampled[below] + (place - below) * (resampled[below + 1] - resampled[below]))
    assert (score.interval.level, score.interval.method) == (level, "bootstrap:400:1")


@pytest.mark.parametrize("metric", [Mean(), Perplexity()], ids=lambda metric: metric.name)
def test_interval_agrees_with_scipy(metric: Mean) -> None:
    """A 2.5% quantile of 20,000 resamples has a standard error of 0.019 standard errors of the score."""
    inputs = two_columns(200)
    rows = metric.statistics(inputs if isinstance(metric, Perplexity) else inputs[:, 0])
    ours = Bootstrap(20_000).interval(rows, metric.aggregate)

    def statistic(*columns: Array, axis: int) -> Array:
        return metric.aggregate(np.stack([column.mean(axis) for column in columns], -1), len(rows))

    theirs = stats.bootstrap(
        tuple(rows.T), statistic, paired=True, n_resamples=20_000, method="percentile", batch=1000, rng=3
    )
    allowed = 5 * 2**0.5 * 0.019 * theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=allowed)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=allowed)


def paired(metric: Mean, first: Array, second: Array, samples: int = 1000) -> tuple[float, float, float, float]:
    result = paired_bootstrap(metric.aggregate, metric.statistics(first), metric.statistics(second), Bootstrap(samples))
    return result.difference, result.interval.low, result.interval.high, result.p_value


def test_identical_systems_do_not_differ() -> None:
    difference, low, high, p = paired(Perplexity(), two_columns(60), two_columns(60))
    assert (difference, p) == (0.0, 1.0)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(0.0, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(2, 30))
def test_swapped_systems_mirror_the_result(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=n), rng.normal(0.3, 1.0, size=n)
    difference, low, high, p = paired(Mean(), first, second)
    swapped = paired(Mean(), second, first)
    assert swapped == pytest.approx((-difference, -high, -low, p), rel=1e-12)


def test_shifted_system_differs() -> None:
    """The shift is ten times the spread of the differences: no resample comes near it."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=50)
    difference, low, high, p = paired(Mean(), first, first - 1.0 + 0.1 * rng.normal(size=50))
    assert p == 1 / 1001
    assert 0.9 < low < difference < high < 1.1


def test_pairing_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(0.0, 10.0, size=100)
    second = first + 0.5 + 0.5 * rng.normal(size=100)
    one, other = (Mean().score(values, Bootstrap()).interval for values in (first, second))
    assert one is not None
    assert other is not None
    assert one.high > other.low
    assert paired(Mean(), first, second)[3] < 0.01


def test_p_values_are_uniform_where_nothing_differs() -> None:
    """Under the null hypothesis P(p <= 0.2) = 0.2; over 300 pairs of systems its standard error is 0.023."""
    rng = np.random.default_rng(0)
    p_values = [paired(Mean(), rng.normal(size=80), rng.normal(size=80), 200)[3] for _ in range(300)]
    assert np.mean(np.array(p_values) <= 0.2) == pytest.approx(0.2, abs=0.07)


def exact_p(first: list[int], second: list[int], bootstrap: Bootstrap) -> Fraction:
    """The p-value in whole numbers."""
    n = len(first)
    counts = np.random.Generator(np.random.PCG64(bootstrap.seed)).multinomial(n, [1 / n] * n, size=bootstrap.samples)
    difference = np.array(first) - np.array(second)
    observed, resampled = int(difference.sum()), (counts @ difference).tolist()
    extreme = sum(abs(value - observed) >= abs(observed) for value in resampled)
    return Fraction(extreme + 1, bootstrap.samples + 1)


@pytest.mark.parametrize("unit", [1, 100])
def test_ties_count_as_extreme(unit: int) -> None:
    """Statistics of 0 or 1 (or 100 in %) make many resamples exactly as far out as the observed difference."""
    rng = np.random.default_rng(0)
    for seed in range(40):
        first, second = rng.integers(0, 2, (2, 23)) * unit
        bootstrap = Bootstrap(200, seed)
        expected = exact_p(first.tolist(), second.tolist(), bootstrap)
        rows = [Mean().statistics(values.astype(float)) for values in (first, second)]
        assert paired_bootstrap(Mean().aggregate, *rows, bootstrap).p_value == float(expected)


def test_systems_over_different_texts_cannot_be_paired() -> None:
    with pytest.raises(BenchError, match=r"paired test: the statistics have the shapes \(3, 1\) and \(2, 1\)"):
        paired_bootstrap(Mean().aggregate, np.ones((3, 1)), np.ones((2, 1)))


def test_draws_that_are_kept_are_those_that_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, also if tests over other texts come in between."""
    kept = [Bootstrap(150, seed=5).means(two_columns(n)) for n in (37, 12, 50, 37)]
    monkeypatch.setattr(module, "MOST_COUNTS_KEPT", 0)
    drawn = [Bootstrap(150, seed=5).means(two_columns(n)) for n in (37, 12, 50, 37)]
    for one, other in zip(kept, drawn, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_interval_of_a_difference_is_that_of_its_resamples() -> None:
    first, second = two_columns(60), two_columns(60, seed=1)
    bootstrap = Bootstrap(400, seed=1)
    values = [Perplexity().aggregate(index_resampling(rows, bootstrap), 60) for rows in (first, second)]
    result = paired_bootstrap(Perplexity().aggregate, first, second, bootstrap)
    np.testing.assert_allclose(
        [result.interval.low, result.interval.high], np.percentile(values[0] - values[1], [2.5, 97.5]), **ROUNDING
    )


@pytest.mark.parametrize("columns", [slice(0, 1), slice(0, 2)], ids=["mean", "ratio"])
@pytest.mark.parametrize("infinite", [np.inf, -np.inf, 1e306])
@pytest.mark.parametrize("both", [False, True])
def test_infinite_values_have_no_difference(columns: slice, infinite: float, both: bool) -> None:
    """Neither as a statistic nor, with 1e306, because the exponential of a ratio overflows. Warnings are errors."""
    first, second = two_columns(30)[:, columns], two_columns(30, seed=1)[:, columns]
    metric = Mean() if first.shape[1] == 1 else Perplexity()
    first[3, 0] = infinite
    if both:
        second[3, 0] = infinite
    result = paired_bootstrap(metric.aggregate, first, second, Bootstrap(200))
    assert (result is None) == (not np.isfinite(infinite) or isinstance(metric, Perplexity))

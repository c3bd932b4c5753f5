"""Latent metrics on posteriors whose mutual information and active units are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from bench.bootstrap import Array, Bootstrap
from bench.metrics.latent import ActiveUnits, MutualInformation
from bench.metrics.likelihood import KL
from bench.metrics.model import ScoredTexts
from della.protocol import ReleasedActiveUnits
from tests.metrics.scored_cases import random_scored, take, variances


def with_posteriors(mean: Array, variance: float, rng: np.random.Generator) -> ScoredTexts:
    """One sample from each text's N(mean, variance I), scored under its own posterior and under everybody's."""
    n, size = mean.shape
    z = mean + variance**0.5 * rng.normal(size=(n, size))
    squares = ((z[:, None] - mean[None]) ** 2).sum(-1)  # sample x posterior
    log_q = -0.5 * (squares / variance + size * math.log(2 * math.pi * variance))
    return replace(
        random_scored(n=n, groups=(size,)),
        log_q=np.diagonal(log_q).copy(),
        log_q_aggregated=logsumexp(log_q, axis=1) - math.log(n),
    )


def hierarchical(signal: Array, noise: float, n: int, k: int, rng: np.random.Generator) -> ScoredTexts:
    """Posterior means of n texts that vary over texts by ``signal`` and over k sampled ancestors by ``noise``.

    Both are variances. The first half of the dimensions is the first group, whose means depend on no ancestor.
    """
    size = len(signal)
    spread = np.where(np.arange(size) < size // 2, 0.0, noise**0.5)
    means = rng.normal(size=(n, 1, size)) * signal**0.5 + rng.normal(size=(n, k, size)) * spread
    return replace(
        random_scored(n=n, k=k, groups=(size // 2, size - size // 2)),
        mean=means.mean(axis=1),
        mean_noise=means.var(axis=1, ddof=1) / k,
    )


class TestWithSources:
    """Posteriors N(source + text, I) with source from N(0, 1) and text from N(0, spread²)."""

    @pytest.mark.parametrize("spread", [0.0, 1.0])
    def test_mi_counts_what_z_says_of_the_source(self, spread: float) -> None:
        rng = np.random.default_rng(0)
        sources, texts = rng.normal(size=(1500, 1)), spread * rng.normal(size=(1500, 1))
        scored = replace(with_posteriors(sources + texts, 1.0, rng), conditional=True)
        error = MutualInformation().statistics(scored).std() / math.sqrt(1500)
        # I(x, c; z) = 1/2 log(1 + 1 + spread²), although I(x; z | c) = 1/2 log(1 + spread²), which may be nothing.
        assert MutualInformation().score(scored).value == pytest.approx(0.5 * math.log(2 + spread**2), abs=5 * error)

    def test_signatures_say_so(self) -> None:
        scored = random_scored(n=7)
        metrics = (MutualInformation(), ActiveUnits(), ActiveUnits(group=1), ReleasedActiveUnits())
        plain = [str(metric.signature(scored)) for metric in metrics]
        paired = [str(metric.signature(replace(scored, conditional=True))) for metric in metrics]
        assert not any("of:" in signature for signature in plain)
        assert [signature.replace("of:text+source|", "") for signature in paired] == plain
        assert all(signature.count("of:text+source|") == 1 for signature in paired)


class TestMutualInformation:
    @pytest.mark.parametrize(("spread", "size"), [(0.5, 1), (1.0, 1), (1.0, 2), (2.0, 1)])
    def test_between_gaussians(self, spread: float, size: int) -> None:
        """Means from N(0, spread²) and unit posteriors have I = D/2 log(1 + spread²).

        With 1,500 texts the estimate's standard error is below 0.03 nats; that the average over texts stands for the
        integral biases it by about one part in 1,500 of the effective number of components, well below that.
        """
        rng = np.random.default_rng(0)
        scored = with_posteriors(spread * rng.normal(size=(1500, size)), 1.0, rng)
        score = MutualInformation().score(scored)
        error = MutualInformation().statistics(scored).std() / math.sqrt(1500)
        assert error < 0.03
        assert score.value == pytest.approx(size / 2 * math.log(1 + spread**2), abs=5 * error)

    @pytest.mark.parametrize("n", [2, 50])
    def test_distinct_posteriors_reach_the_ceiling(self, n: int) -> None:
        """Posteriors a million standard deviations apart tell the texts apart perfectly: I = ln N, and no more."""
        rng = np.random.default_rng(0)
        scored = with_posteriors(1e6 * np.arange(n)[:, None].astype(float), 1.0, rng)
        assert MutualInformation().score(scored).value == pytest.approx(math.log(n), rel=1e-12)

    def test_the_ceiling_holds_for_every_text(self) -> None:
        rng = np.random.default_rng(0)
        scored = with_posteriors(rng.normal(size=(40, 3)) * 3, 1.0, rng)
        assert MutualInformation().statistics(scored).max() <= math.log(40) + 1e-12

    def test_a_collapsed_posterior_says_nothing(self) -> None:
        scored = with_posteriors(np.zeros((30, 4)), 1.0, np.random.default_rng(0))
        np.testing.assert_allclose(MutualInformation().statistics(scored), 0.0, atol=1e-13)  # log q is near 10

    def test_the_closed_form_of_li_et_al_has_the_same_expectation_and_another_noise(self) -> None:
        """Means from N(0, 1) and unit posteriors: both estimate 1/2 ln 2, from the same samples."""
        rng = np.random.default_rng(0)
        sampled, closed = [], []
        for _ in range(40):
            scored = with_posteriors(rng.normal(size=(200, 1)), 1.0, rng)
            sampled.append(MutualInformation().score(scored).value)
            closed.append(-0.5 * math.log(2 * math.pi * math.e) - scored.log_q_aggregated.mean())
        difference = np.array(sampled) - np.array(closed)
        assert difference.std() > 0.01
        assert difference.mean() == pytest.approx(0.0, abs=4 * difference.std() / math.sqrt(40))

    def test_it_needs_a_latent_variable_and_states_its_ceiling(self) -> None:
        assert MutualInformation().supports(random_scored(groups=())) == "no latent variable"
        assert str(MutualInformation().signature(random_scored())) == "MI|est:mc|K:1|aggregate:all|sum:groups|n:7|v:1"


class TestActiveUnits:
    def test_known_units_are_found(self) -> None:
        """Variances far on either side of the thresholds: 5,000 texts estimate each to 2% (standard error)."""
        signal = np.array([0.0, 0.005, 0.05, 1.0, 0.005, 0.1, 0.5, 2.0])
        scored = hierarchical(signal, 1.0, n=5000, k=10, rng=np.random.default_rng(0))
        expected = {(0.01, None): 5, (0.01, 1): 2, (0.01, 2): 3, (0.2, None): 3, (0.2, 1): 1, (0.2, 2): 2}
        found = {(delta, group): ActiveUnits(delta, group).score(scored).value for delta, group in expected}
        # Dimension 5 of variance 0.005 has its noise of 0.1 taken out with a standard error of 0.002.
        assert found == expected

    def test_variances_are_those_of_the_texts_without_the_noise_of_the_ancestors(self) -> None:
        signal = np.array([0.0, 1.0, 0.0, 1.0])
        scored = hierarchical(signal, 1.0, n=20_000, k=5, rng=np.random.default_rng(0))
        # Standard errors: 0.01 for a variance of 1, 0.012 with noise of 0.2 on it, 0.002 for the noise alone.
        np.testing.assert_allclose(variances(scored), signal, atol=0.06)
        np.testing.assert_allclose(variances(scored)[[0, 2]], 0.0, atol=0.011)

    def test_a_collapsed_hierarchy_has_none_though_its_means_vary(self) -> None:
        """Means that depend on sampled ancestors alone: their plain variance is the noise, 0.1 > 0.01."""
        scored = hierarchical(np.zeros(12), 1.0, n=5000, k=10, rng=np.random.default_rng(0))
        naive = int((scored.mean.var(axis=0, ddof=1) > 0.01).sum())
        assert naive == 6
        assert ActiveUnits().score(scored).value == 0.0

    def test_a_large_common_mean_does_not_round_the_variance_away(self) -> None:
        scored = hierarchical(np.array([0.0, 0.02]), 0.0, n=1000, k=2, rng=np.random.default_rng(0))
        moved = replace(scored, mean=scored.mean + 1e7)
        for texts in (scored, moved):
            assert ActiveUnits().score(texts).value == 1.0

    def test_the_variance_is_unbiased(self) -> None:
        """Two means 0.19 apart: 0.19²/2 = 0.018 with N - 1, 0.009 with N."""
        scored = random_scored(n=2, groups=(1,))
        apart = replace(scored, mean=np.array([[0.0], [0.19]]), mean_noise=np.zeros((2, 1)))
        assert ActiveUnits().score(apart).value == 1.0
        assert variances(apart)[0] == pytest.approx(0.19**2 / 2)

    @pytest.mark.parametrize("group", [None, 1, 2])
    def test_intervals_are_of_the_metric_on_resampled_texts(self, group: int | None) -> None:
        rng = np.random.default_rng(0)
        scored = hierarchical(rng.gamma(0.5, 0.02, 40), 0.05, n=30, k=4, rng=rng)
        metric, bootstrap = ActiveUnits(group=group), Bootstrap(samples=80, seed=2)
        counts = np.random.Generator(np.random.PCG64(2)).multinomial(30, [1 / 30] * 30, size=80)
        resampled = [metric.score(take(scored, np.repeat(np.arange(30), count))).value for count in counts]
        score = metric.score(scored, bootstrap)
        assert score.interval is not None
        expected = np.percentile(resampled, [2.5, 97.5]).tolist()
        assert [score.interval.low, score.interval.high] == pytest.approx(expected, rel=1e-12)
        assert score.value == float((variances(scored, group) > 0.01).sum())
        assert len(set(resampled)) > 3

    def test_what_it_does_not_apply_to(self) -> None:
        assert ActiveUnits().supports(random_scored(groups=())) == "no latent variable"
        assert ActiveUnits().supports(random_scored(n=1)) == "one text has no variance"
        assert ActiveUnits().supports(random_scored(n=2)) is None
        alone = "the noise of sampled ancestors cannot be told from one sample"
        assert ActiveUnits().supports(random_scored(k=1)) == alone
        assert ActiveUnits().supports(random_scored(k=1, groups=(5,))) is None

    def test_signatures(self) -> None:
        scored = random_scored()
        assert str(ActiveUnits().signature(scored)) == "AU|delta:0.01|stat:var-of-means|noise:removed|group:all|n:7|v:1"
        other = ActiveUnits(delta=0.2, group=2)
        assert str(other.signature(scored)) == "AU(0.2)[2]|delta:0.2|stat:var-of-means|noise:removed|group:2|n:7|v:1"


def test_groups_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    scored = hierarchical(rng.gamma(0.5, 0.02, 20), 0.05, n=50, k=4, rng=rng)
    for metric in (KL, ActiveUnits):
        parts = sum(metric(group=group).score(scored).value for group in (1, 2))
        assert parts == pytest.approx(metric().score(scored).value, rel=1e-12)

"""The entropy of the true distribution: which texts have one, how tight the excess is, and values below it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bootstrap import Bootstrap
from bench.errors import BenchError
from bench.metrics.entropy import Entropy, EntropyPerplexity, Excess, PerplexityRatio
from bench.metrics.likelihood import Perplexity
from bench.metrics.model import ScoredTexts
from tests.metrics.scored_cases import random_scored

METRICS = (EntropyPerplexity(), PerplexityRatio(), Entropy(), Excess())
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def texts_of_many_lengths(excess: float, noise: float, n: int = 400) -> ScoredTexts:
    """Texts whose entropy varies by tens of nats, and a model that adds ``excess`` ± ``noise`` nats to each."""
    rng = np.random.default_rng(0)
    known = -rng.gamma(4.0, 6.0, n)
    scored = random_scored(n=n, k=1)
    added = excess + noise * rng.normal(size=n)
    return replace(
        scored,
        tokens=np.ceil(-known / 2),
        log_likelihood=(known - added)[:, None],
        log_ratio=np.zeros((n, 1)),
        true_log_p=known,
    )


@each_metric
def test_real_text_has_none(metric: Excess) -> None:
    assert metric.supports(random_scored()) is None
    assert metric.supports(random_scored(known=False)) == "the true distribution of real text is not known"


@each_metric
def test_cut_texts_are_not_those_whose_probability_is_known(metric: Excess) -> None:
    cut = replace(random_scored(), cut=2)
    assert metric.supports(cut) == "2 of 7 texts were cut, and the exact probability is that of the whole text"
    with pytest.raises(BenchError, match=f"^{metric.name}: 2 of 7 texts were cut"):
        metric.score(cut)


@given(st.integers(0, 10**6))
def test_the_ratio_is_that_of_the_perplexities_and_the_excess_its_logarithm(seed: int) -> None:
    scored = random_scored(seed)
    perplexity, minimum, ratio = (m.score(scored).value for m in (Perplexity(), EntropyPerplexity(), PerplexityRatio()))
    assert ratio == pytest.approx(perplexity / minimum, rel=1e-12)
    excess = Excess().score(scored).value
    assert np.log(ratio) * scored.tokens.mean() == pytest.approx(excess, rel=1e-9, abs=1e-12)


def test_the_true_distribution_has_no_excess() -> None:
    scored = texts_of_many_lengths(excess=0.0, noise=0.0)
    assert Excess().score(scored).value == 0.0
    assert PerplexityRatio().score(scored).value == 1.0


def test_the_excess_is_paired() -> None:
    """Entropies vary by 12 nats, the excess by 0.5: unpaired, 0.3 nats would drown."""
    scored = texts_of_many_lengths(excess=0.3, noise=0.5)
    bootstrap = Bootstrap(samples=400)
    excess, entropy = (metric.score(scored, bootstrap).interval for metric in (Excess(), Entropy()))
    assert excess is not None
    assert entropy is not None
    assert 0.2 < excess.low < 0.3 < excess.high < 0.4
    assert entropy.high - entropy.low > 20 * (excess.high - excess.low)


def test_a_value_below_the_entropy_is_no_likelihood() -> None:
    """A tenth of a nat too much probability per text, a hundredth of the entropy's own spread, is seen."""
    interval = Excess().score(texts_of_many_lengths(excess=-0.1, noise=0.5), Bootstrap(samples=400)).interval
    assert interval is not None
    assert interval.high < 0.0

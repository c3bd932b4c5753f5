"""Likelihood metrics against loops over numbers, and as bounds; `tests/estimators` has them against closed forms.

Loops and numpy add the same few hundred doubles in another order: 1e-12 relative.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from bench.bootstrap import Bootstrap
from bench.metrics.entropy import Entropy, EntropyPerplexity, Excess, PerplexityRatio
from bench.metrics.likelihood import (
    ELBO,
    KL,
    BitsPerByte,
    EffectiveSampleSize,
    LikelihoodMetric,
    Perplexity,
    Reconstruction,
    WordPerplexity,
    importance_bound,
    log_mean_exp,
)
from bench.metrics.model import ScoredTexts
from tests.metrics.scored_cases import random_scored, take

ROUNDING = 1e-12


def literal_bounds(scored: ScoredTexts) -> list[float]:
    """log p_K of each text, with the exponentials of Python."""
    bounds = []
    for likelihoods, ratios in zip(scored.log_likelihood.tolist(), scored.log_ratio.tolist(), strict=True):
        weights = [a + b for a, b in zip(likelihoods, ratios, strict=True)]
        top = max(weights)
        bounds.append(top + math.log(math.fsum(math.exp(w - top) for w in weights) / len(weights)))
    return bounds


def literal(metric: LikelihoodMetric, scored: ScoredTexts) -> float:
    n, k = scored.log_likelihood.shape
    rec = [-math.fsum(row) / k for row in scored.log_likelihood.tolist()]
    kl = [math.fsum(row) for row in scored.kl.tolist()]
    total = -math.fsum(literal_bounds(scored))
    words = math.fsum(scored.words) + n
    effective = []
    for row in (scored.log_likelihood + scored.log_ratio).tolist():
        weights = [math.exp(w - max(row)) for w in row]
        effective.append(math.fsum(weights) ** 2 / math.fsum(w * w for w in weights))
    known = [] if scored.true_log_p is None else scored.true_log_p.tolist()
    return {
        "Rec": lambda: math.fsum(rec) / n,
        "KL": lambda: math.fsum(kl) / n,
        "KL[1]": lambda: math.fsum(scored.kl[:, 0]) / n,
        "KL[2]": lambda: math.fsum(scored.kl[:, 1]) / n,
        "ELBO": lambda: (math.fsum(rec) + math.fsum(kl)) / n,
        "PPL": lambda: math.exp(total / math.fsum(scored.tokens)),
        "PPL word": lambda: math.exp(total / words),
        "BPB": lambda: total / math.fsum(scored.bytes) / math.log(2),
        "PPL floor": lambda: math.exp(-math.fsum(known) / math.fsum(scored.tokens)),
        "PPL ratio": lambda: math.exp((total + math.fsum(known)) / math.fsum(scored.tokens)),
        "ELBO floor": lambda: -math.fsum(known) / n,
        "Excess": lambda: math.fsum([total, *known]) / n,
        "ESS": lambda: math.fsum(effective) / n,
    }[metric.name]()


METRICS: tuple[LikelihoodMetric, ...] = (
    Reconstruction(),
    KL(),
    KL(1),
    KL(2),
    ELBO(),
    Perplexity(),
    WordPerplexity(),
    BitsPerByte(),
    EntropyPerplexity(),
    PerplexityRatio(),
    Entropy(),
    Excess(),
    EffectiveSampleSize(),
)
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


@each_metric
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), k=st.integers(1, 6))
def test_every_metric_equals_its_loop(metric: LikelihoodMetric, seed: int, n: int, k: int) -> None:
    scored = random_scored(seed, n, k)
    score = metric.score(scored)
    assert score.value == pytest.approx(literal(metric, scored), rel=ROUNDING)
    assert (score.name, score.n, score.signature) == (metric.name, n, str(metric.signature(scored)))


@each_metric
def test_intervals_are_of_the_metric_on_resampled_texts(metric: LikelihoodMetric) -> None:
    scored, bootstrap = random_scored(), Bootstrap(samples=60, seed=3)
    counts = np.random.Generator(np.random.PCG64(3)).multinomial(7, [1 / 7] * 7, size=60)
    resampled = [metric.score(take(scored, np.repeat(np.arange(7), count))).value for count in counts]
    interval = metric.score(scored, bootstrap).interval
    assert interval is not None
    expected = np.percentile(resampled, [2.5, 97.5])
    np.testing.assert_allclose([interval.low, interval.high], expected, rtol=ROUNDING)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Reconstruction(), "Rec|est:mc|K:5|tok:bpe300@abcdef|n:7|v:1"),
        (KL(), "KL|est:analytic|K:5|sum:groups|n:7|v:1"),
        (KL(2), "KL[2]|est:analytic|K:5|n:7|v:1"),
        (ELBO(), "ELBO|K:5|sum:groups|tok:bpe300@abcdef|n:7|v:1"),
        (Perplexity(), "PPL|est:iw|K:5|sum:groups|den:tokens+eos|tok:bpe300@abcdef|n:7|v:1"),
        (WordPerplexity(), "PPL word|est:iw|K:5|sum:groups|den:words+eos|tok:bpe300@abcdef|n:7|v:1"),
        (BitsPerByte(), "BPB|est:iw|K:5|sum:groups|den:bytes|tok:bpe300@abcdef|n:7|v:1"),
        (EntropyPerplexity(), "PPL floor|est:exact|den:tokens+eos|tok:bpe300@abcdef|n:7|v:1"),
        (
            PerplexityRatio(),
            "PPL ratio|est:iw|K:5|sum:groups|over:exact|den:tokens+eos|tok:bpe300@abcdef|n:7|v:1",
        ),
        (Entropy(), "ELBO floor|est:exact|n:7|v:1"),
        (Excess(), "Excess|est:iw|K:5|sum:groups|over:exact|tok:bpe300@abcdef|n:7|v:1"),
        (EffectiveSampleSize(), "ESS|K:5|sum:groups|n:7|v:1"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_signatures(metric: LikelihoodMetric, expected: str) -> None:
    assert str(metric.signature(random_scored())) == expected


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=8), st.floats(-1e4, 1e4))
def test_log_mean_exp_does_not_overflow(values: list[float], shift: float) -> None:
    expected = float(logsumexp(values)) - math.log(len(values))
    assert float(log_mean_exp(np.array(values))) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    # Adding up to 1e4 costs 1e-12 of absolute precision.
    assert float(log_mean_exp(np.array(values) + shift)) == pytest.approx(expected + shift, rel=1e-12, abs=1e-11)


class TestBound:
    @given(st.integers(0, 10**6))
    def test_it_is_never_below_the_mean_of_its_log_weights(self, seed: int) -> None:
        """Jensen's inequality, text by text: the bound of K samples is at least their Monte-Carlo ELBO."""
        scored = random_scored(seed)
        assert (importance_bound(scored) >= scored.log_weights.mean(axis=1) - 1e-12).all()
        assert (importance_bound(scored) <= scored.log_weights.max(axis=1) + 1e-12).all()

    @given(st.integers(0, 10**6))
    def test_it_rises_with_the_number_of_samples(self, seed: int) -> None:
        """Averaged over all subsets of k of the K samples it is non-decreasing in k (Burda et al. 2016, theorem 1)."""
        weights = random_scored(seed, n=3, k=6).log_weights
        means = [
            np.mean([log_mean_exp(weights[:, list(chosen)]) for chosen in combinations(range(6), k)], axis=0)
            for k in range(1, 7)
        ]
        assert (np.diff(means, axis=0) >= -1e-12).all()

    def test_k_takes_the_first_samples(self) -> None:
        scored = random_scored()
        np.testing.assert_array_equal(importance_bound(scored, 1), scored.log_weights[:, 0])
        np.testing.assert_allclose(importance_bound(scored, 3), log_mean_exp(scored.log_weights[:, :3]))
        np.testing.assert_array_equal(importance_bound(scored, 5), importance_bound(scored))


def test_perplexities_and_bits_measure_one_probability() -> None:
    scored = random_scored()
    nats = -float(importance_bound(scored).sum())
    values = {m.name: m.score(scored).value for m in (Perplexity(), WordPerplexity(), BitsPerByte())}
    assert math.log(values["PPL"]) * scored.tokens.sum() == pytest.approx(nats, rel=ROUNDING)
    assert math.log(values["PPL word"]) * (scored.words + 1).sum() == pytest.approx(nats, rel=ROUNDING)
    assert values["BPB"] * math.log(2) * scored.bytes.sum() == pytest.approx(nats, rel=ROUNDING)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    scored = replace(random_scored(), log_ratio=np.zeros((7, 5)))
    uniform = replace(scored, log_likelihood=np.broadcast_to(-scored.tokens[:, None] * math.log(256), (7, 5)))
    assert Perplexity().score(uniform).value == pytest.approx(256.0)
    assert BitsPerByte().score(replace(uniform, bytes=uniform.tokens)).value == pytest.approx(8.0)


def test_perplexity_averages_over_tokens_not_over_texts() -> None:
    """A text of 30 tokens weighs ten times as much as one of 3."""
    scored = replace(
        random_scored(n=2, k=1),
        tokens=np.array([30.0, 3.0]),
        log_likelihood=np.array([[-30.0], [-9.0]]),
        log_ratio=np.zeros((2, 1)),
    )
    assert Perplexity().score(scored).value == pytest.approx(math.exp(39 / 33))


def test_without_latent_variables_the_bound_is_exact_for_any_number_of_samples() -> None:
    one = replace(random_scored(groups=()), log_ratio=np.zeros((7, 5)))
    alike = replace(one, log_likelihood=np.repeat(one.log_likelihood[:, :1], 5, axis=1))
    for k in (1, 2, 5):
        np.testing.assert_allclose(importance_bound(alike, k), one.log_likelihood[:, 0], rtol=1e-15)
    assert ELBO().score(alike).value == Reconstruction().score(alike).value
    assert (
        KL().supports(alike) == KL(1).supports(alike) == EffectiveSampleSize().supports(alike) == "no latent variable"
    )
    assert all(metric.supports(alike) is None for metric in (ELBO(), Perplexity(), EntropyPerplexity()))


def test_one_dominant_weight_leaves_one_effective_sample() -> None:
    weights = np.array([[0.0, -1000.0, -1000.0], [5.0, 5.0, 5.0]])
    scored = replace(random_scored(n=2, k=3), log_likelihood=weights, log_ratio=np.zeros((2, 3)))
    assert EffectiveSampleSize().statistics(scored)[:, 0].tolist() == pytest.approx([1.0, 3.0])

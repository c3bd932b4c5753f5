"""The protocol of 2022: scores against a loop that does what the released evaluation does, and decodings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bootstrap import Array, Bootstrap
from bench.harness.plan import resolve_decoding
from bench.metrics.likelihood import ELBO, KL, Perplexity
from bench.metrics.model import ScoredTexts
from bench.specs import DecodingSpec
from della.protocol import ReleasedActiveUnits, ReleasedELBO, ReleasedKL, ReleasedPerplexity
from tests.metrics.scored_cases import random_scored, take

METRICS = (ReleasedPerplexity(), ReleasedELBO(), ReleasedKL(), ReleasedActiveUnits())


@dataclass(frozen=True)
class Released:
    """What the released evaluation prints (its active units as the paper prints them: per layer)."""

    ppl: float
    elbo: float
    kl: float
    au: float


def released(log_p: Array, log_q: Array, scored: ScoredTexts) -> Released:
    """Loops over texts and samples, with per-layer log densities of prior and posterior (N x K x G)."""
    total = total_kl = total_rec = words = 0.0
    for text in range(len(scored)):
        n_samples = min(30, scored.n_samples)
        weights = []
        for k in range(n_samples):
            log_prior, log_posterior = np.mean(log_p[text, k]), np.mean(log_q[text, k])
            weights.append(float(scored.log_likelihood[text, k] + log_prior - log_posterior))
        total += max(weights) + math.log(sum(math.exp(w - max(weights)) for w in weights)) - math.log(n_samples)
        total_rec -= float(np.mean(scored.log_likelihood[text]))
        total_kl += float(np.mean(scored.kl[text]))
        words += 1 + scored.tokens[text]  # the attention mask counts BOS
    centre = sum(scored.first_mean) / len(scored)
    variance = sum((mean - centre) ** 2 for mean in scored.first_mean) / (len(scored) - 1)
    share = sum(v >= 0.2 for v in variance) / len(variance)
    n = len(scored)
    return Released(math.exp(-total / words), (total_kl + total_rec) / n, total_kl / n, share * scored.groups[0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.sampled_from([2, 29, 30, 31, 40]), n_groups=st.integers(1, 4))
def test_it_is_what_the_released_code_computes(seed: int, k: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    log_p, log_q = rng.normal(-3.0, 1.0, (2, 9, k, n_groups))
    scored = random_scored(seed, n=9, k=k, groups=(8,) * n_groups)
    scored = replace(scored, log_ratio=(log_p - log_q).sum(axis=-1))
    expected = released(log_p, log_q, scored)
    # Numpy and the loop add some hundred doubles in another order.
    assert ReleasedPerplexity().score(scored).value == pytest.approx(expected.ppl, rel=1e-12)
    assert ReleasedELBO().score(scored).value == pytest.approx(expected.elbo, rel=1e-12)
    assert ReleasedKL().score(scored).value == pytest.approx(expected.kl, rel=1e-12)
    assert ReleasedActiveUnits().score(scored).value == pytest.approx(expected.au, rel=1e-12)


def test_with_one_group_only_the_counted_tokens_differ() -> None:
    scored = random_scored(groups=(5,))
    assert ReleasedKL().score(scored).value == pytest.approx(KL().score(scored).value, rel=1e-12)
    assert ReleasedELBO().score(scored).value == pytest.approx(ELBO().score(scored).value, rel=1e-12)
    nats = math.log(Perplexity().score(scored).value) * scored.tokens.sum()
    released_nats = math.log(ReleasedPerplexity().score(scored).value) * (scored.tokens.sum() + len(scored))
    assert released_nats == pytest.approx(nats, rel=1e-12)


def test_a_plain_language_model_has_its_own_likelihood_and_one_more_token() -> None:
    scored = random_scored(groups=())
    nats = -scored.log_likelihood[:, :1].sum()
    alike = replace(scored, log_likelihood=np.repeat(scored.log_likelihood[:, :1], 5, axis=1))
    expected = math.exp(nats / (scored.tokens.sum() + len(scored)))
    assert ReleasedPerplexity().score(alike).value == pytest.approx(expected, rel=1e-12)
    assert ReleasedELBO().score(alike).value == pytest.approx(nats / len(scored), rel=1e-12)
    assert ReleasedKL().supports(alike) == ReleasedActiveUnits().supports(alike) == "no latent variable"


def test_with_several_groups_its_elbo_bounds_nothing() -> None:
    """All of log p(x) is in the KL: twelve groups of one nat each, and a decoder that is certain of its text."""
    certain = random_scored(n=20, k=4, groups=(2,) * 12)
    scored = replace(certain, log_likelihood=np.zeros((20, 4)), log_ratio=np.full((20, 4), -12.0), kl=np.ones((20, 12)))
    assert ELBO().score(scored).value == pytest.approx(12.0)
    assert ReleasedELBO().score(scored).value == pytest.approx(1.0)
    exact, its = (math.log(metric.score(scored).value) for metric in (Perplexity(), ReleasedPerplexity()))
    assert exact * scored.tokens.mean() == pytest.approx(12.0)
    assert its * (scored.tokens.mean() + 1) == pytest.approx(1.0)


def test_a_collapsed_hierarchy_has_active_units() -> None:
    """Means that only depend on sampled ancestors: no text has anything to say, and half the units count as active."""
    rng = np.random.default_rng(0)
    scored = random_scored(n=2000, groups=(4, 4))
    below = np.where(np.arange(8) < 4, 0.0, 1.0)
    collapsed = replace(scored, first_mean=below * rng.normal(size=(2000, 8)))
    assert ReleasedActiveUnits().score(collapsed).value == 4 / 2


def test_its_interval_is_of_the_metric_on_resampled_texts() -> None:
    scored = random_scored(n=30, groups=(10, 10))
    counts = np.random.Generator(np.random.PCG64(2)).multinomial(30, [1 / 30] * 30, size=80)
    resampled = [ReleasedActiveUnits().score(take(scored, np.repeat(np.arange(30), count))).value for count in counts]
    interval = ReleasedActiveUnits().score(scored, Bootstrap(samples=80, seed=2)).interval
    assert interval is not None
    expected = np.percentile(resampled, [2.5, 97.5]).tolist()
    assert [interval.low, interval.high] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (ReleasedPerplexity(), "PPL@della-2022|est:iw|K:30|mean:groups|den:tokens+bos+eos|tok:bpe300@abcdef|n:7|v:1"),
        (ReleasedELBO(), "ELBO@della-2022|K:64|mean:groups|tok:bpe300@abcdef|n:7|v:1"),
        (ReleasedKL(), "KL@della-2022|est:analytic|K:64|mean:groups|n:7|v:1"),
        (ReleasedActiveUnits(), "AU@della-2022|delta:0.2|stat:var-of-means|noise:kept|mean:groups|n:7|v:1"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_signatures(metric: ReleasedPerplexity, expected: str) -> None:
    assert str(metric.signature(random_scored(k=64))) == expected


def test_systems_with_and_without_layers_share_its_columns() -> None:
    for metric in METRICS:
        hierarchical, flat = (metric.signature(random_scored(groups=groups)) for groups in ((2,) * 12, (24,)))
        assert hierarchical == flat


@pytest.mark.parametrize(
    ("system", "expected"),
    [("della-lw", ("beam", 10, 0)), ("optimus", ("sample", 4, 50)), ("anybodys", ("sample", 4, 50))],
)
def test_the_papers_decoding_depends_on_the_system(system: str, expected: tuple[str, int, int]) -> None:
    decoding = resolve_decoding("paper", system, DecodingSpec(beams=4))
    assert (decoding.strategy, decoding.beams, decoding.top_k) == expected

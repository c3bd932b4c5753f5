"""Probes on means that hold a factor, part of it, or nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bootstrap import Array, Bootstrap
from bench.metrics.model import ScoredTexts
from bench.metrics.probe import FOLDS, MajorityRate, Probe, probe
from tests.metrics.scored_cases import random_scored, take

TOPICS = ("food", "film", "music")


def scored_with(mean: Array, groups: tuple[int, ...], factors: dict[str, list[str]]) -> ScoredTexts:
    scored = random_scored(n=len(mean), k=2, groups=groups, known=False)
    return replace(scored, mean=mean, probe_hits=probe(mean, groups, factors))


@pytest.fixture(scope="module")
def known() -> ScoredTexts:
    """300 texts: the first group knows the topic, the second neither topic nor tone, which four of five texts share."""
    rng = np.random.default_rng(0)
    topic, tone = rng.integers(0, 3, 300), rng.random(300) < 0.2
    mean = np.concatenate([2.0 * np.eye(3)[topic] + 0.3 * rng.normal(size=(300, 3)), rng.normal(size=(300, 2))], axis=1)
    factors = {"topic": [TOPICS[i] for i in topic], "tone": ["harsh" if harsh else "mild" for harsh in tone]}
    return scored_with(mean, (3, 2), factors)


def test_what_a_group_knows_is_read_from_it_alone(known: ScoredTexts) -> None:
    accuracy = {group: Probe("topic", group).score(known).value for group in (None, 1, 2)}
    assert accuracy[None] > 98
    assert accuracy[1] > 98
    assert accuracy[2] == pytest.approx(100 / 3, abs=10)  # chance, to 3.5 standard errors
    assert MajorityRate("topic").score(known).value < 45


def test_what_nothing_tells_is_guessed_as_the_commonest_value(known: ScoredTexts) -> None:
    share = 100 * np.mean(known.probe_hits["tone"][:, 0])
    assert MajorityRate("tone").score(known).value == pytest.approx(share)
    assert 70 < share < 90
    assert Probe("tone").score(known).value == pytest.approx(share, abs=3)


@given(st.lists(st.sampled_from("abc"), min_size=FOLDS, max_size=30))
def test_the_commonest_value_is_that_of_the_other_folds_and_the_first_of_equals(values: list[str]) -> None:
    """Counting leaves no choice to rounding, which differs between processors."""
    expected = []
    for i, value in enumerate(values):
        counts = Counter(other for j, other in enumerate(values) if j % FOLDS != i % FOLDS)
        expected.append(value == min(counts, key=lambda candidate: (-counts[candidate], candidate)))
    hits = probe(np.zeros((len(values), 1)), (1,), {"topic": values})["topic"]
    np.testing.assert_array_equal(hits[:, 0], expected)


def test_the_summary_is_the_mean_over_factors(known: ScoredTexts) -> None:
    for metric in (Probe, MajorityRate):
        parts = [metric(factor).score(known).value for factor in ("topic", "tone")]
        assert metric().score(known).value == pytest.approx(np.mean(parts), rel=1e-12)
    of_group = [Probe(factor, 2).score(known).value for factor in ("topic", "tone")]
    assert Probe(group=2).score(known).value == pytest.approx(np.mean(of_group), rel=1e-12)


def test_a_dimension_that_hardly_varies_is_hardly_heard() -> None:
    """The same means a thousandth the size: a decoder that sees them under noise of one could not tell topics apart."""
    rng = np.random.default_rng(0)
    topic = rng.integers(0, 3, 200)
    mean = np.eye(3)[topic]
    factors = {"topic": [TOPICS[i] for i in topic]}
    loud, faint = (scored_with(scale * mean, (3,), factors) for scale in (1.0, 1e-3))
    assert Probe("topic").score(loud).value == 100.0
    assert Probe("topic").score(faint).value == pytest.approx(MajorityRate("topic").score(faint).value, abs=1.0)


def test_intervals_are_of_the_share_on_resampled_texts(known: ScoredTexts) -> None:
    few = take(known, np.arange(30))
    counts = np.random.Generator(np.random.PCG64(2)).multinomial(30, [1 / 30] * 30, size=80)
    resampled = [Probe().score(take(few, np.repeat(np.arange(30), count))).value for count in counts]
    interval = Probe().score(few, Bootstrap(samples=80, seed=2)).interval
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx(np.percentile(resampled, [2.5, 97.5]).tolist(), rel=1e-12)


def test_it_is_the_same_again() -> None:
    rng = np.random.default_rng(0)
    mean, values = rng.normal(size=(50, 4)), {"topic": [TOPICS[i] for i in rng.integers(0, 3, 50)]}
    np.testing.assert_array_equal(probe(mean, (2, 2), values)["topic"], probe(mean, (2, 2), values)["topic"])
    assert probe(mean, (2, 2), values)["topic"].shape == (50, 4)
    assert probe(mean, (4,), values)["topic"].shape == (50, 2)


def test_what_is_no_number_is_no_guess() -> None:
    guessed = probe(np.full((10, 2), np.nan), (1, 1), {"topic": list("ababababab")})
    assert np.isnan(guessed["topic"]).all()
    assert guessed["topic"].shape == (10, 4)


def test_what_it_does_not_apply_to() -> None:
    real = random_scored(known=False)
    assert Probe().supports(real) == MajorityRate().supports(real) == "the latent factors of real text are not known"
    assert Probe().supports(random_scored(groups=())) == "no latent variable"
    assert MajorityRate().supports(random_scored(groups=())) is None
    assert Probe().supports(random_scored(n=FOLDS - 1)) == "needs at least 5 texts, got 4"
    assert probe(np.zeros((FOLDS - 1, 2)), (2,), {"topic": ["a"] * (FOLDS - 1)}) == {}
    assert probe(np.zeros((9, 2)), (2,), {}) == {}


def test_signatures() -> None:
    scored = random_scored()
    assert (
        str(Probe("topic").signature(scored)) == "Probe[topic]|model:logistic|l2:1.0|folds:5|of:means|group:all|n:7|v:1"
    )
    assert str(Probe("topic", 2).signature(scored)) == (
        "Probe[topic][2]|model:logistic|l2:1.0|folds:5|of:means|group:2|n:7|v:1"
    )
    assert str(MajorityRate().signature(scored)) == "Majority|folds:5|n:7|v:2"

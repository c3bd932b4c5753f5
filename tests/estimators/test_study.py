"""The suite's estimators against closed forms, and the page about them against what they give."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.bootstrap import Bootstrap
from bench.metric import PerTextMetric
from bench.metrics.entropy import EntropyPerplexity, Excess
from bench.metrics.latent import ActiveUnits, MutualInformation
from bench.metrics.likelihood import ELBO, EffectiveSampleSize, Perplexity, importance_bound
from bench.metrics.text import TEXT_METRICS
from della.protocol import ReleasedActiveUnits
from tests.estimators import study as estimators
from tests.estimators.coverage import data_folder, intervals_of, settings
from tests.estimators.study import (
    COLUMNS,
    NARROW,
    STUDIES,
    WRONG,
    Estimate,
    channel,
    documents,
    hierarchy,
    layers,
    portions,
    posteriors,
    read_csv,
    score,
    write_csv,
)
from tests.metrics.scored_cases import variances

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def stored() -> list[Estimate]:
    return read_csv((DOCS / "estimators.csv").read_text(encoding="utf-8"))


def within(estimate: Estimate, errors: float = 4.5) -> bool:
    """Whether the mean over repetitions is the truth but for its standard error."""
    return abs(estimate.mean - estimate.truth) <= errors * estimate.sd / math.sqrt(estimate.repetitions)


class TestBound:
    def test_with_the_exact_posterior_every_weight_is_p_of_x(self) -> None:
        model = hierarchy()
        scored = score(model, n=20, k=8, seed=0).texts
        assert scored.true_log_p is not None
        # Terms of up to 20 nats cancel: 1e-10 is some 1e4 roundings.
        np.testing.assert_allclose(scored.log_weights, np.repeat(scored.true_log_p[:, None], 8, axis=1), atol=1e-10)
        assert EffectiveSampleSize().score(scored).value == pytest.approx(8.0, abs=1e-8)
        assert Perplexity().score(scored).value == pytest.approx(EntropyPerplexity().score(scored).value, rel=1e-10)
        assert Excess().score(scored).value == pytest.approx(0.0, abs=1e-10)

    def test_it_rises_from_the_elbo_to_the_truth_as_theory_says(self) -> None:
        found = list(estimators.bound(repetitions=3, n=40, n_samples=(1, 10, 100)))
        for name in (WRONG, NARROW):
            rising = [estimate for estimate in found if estimate.estimator == f"log p_K, {name}"]
            assert rising[0].mean < rising[1].mean < rising[2].mean < 0.01
            model = posteriors()[name]
            x = model.draw(2, np.random.default_rng(0))
            gap = (model.elbo(x) + model.log_p(x)).mean()  # the same for all texts
            assert rising[0].mean == pytest.approx(-gap, abs=5 * rising[0].sd / math.sqrt(rising[0].repetitions))
        (theory,) = (estimate for estimate in found if estimate.estimator.startswith("-χ²") and estimate.x == 100)
        (close,) = (estimate for estimate in found if estimate.estimator == f"log p_K, {WRONG}" and estimate.x == 100)
        assert close.mean == pytest.approx(theory.mean, abs=4.5 * close.sd / math.sqrt(close.repetitions))

    def test_the_released_weights_pass_the_truth(self) -> None:
        found = estimators.bound(repetitions=2, n=20, n_samples=(30,))
        assert all(estimate.mean > 2.0 for estimate in found if estimate.estimator.startswith("della-2022"))

    def test_its_interval_knows_below_from_above(self) -> None:
        scored = score(posteriors()[WRONG], n=200, k=10, seed=0).texts
        interval = Excess().score(scored, Bootstrap()).interval
        assert interval is not None
        assert interval.high > 0.0

    def test_portions_are_consecutive_samples(self) -> None:
        scored = score(hierarchy(), n=3, k=10, seed=0).texts
        parts = list(portions(scored, 4))
        assert [part.n_samples for part in parts] == [4, 4]
        np.testing.assert_array_equal(parts[1].log_weights, scored.log_weights[:, 4:8])
        np.testing.assert_array_equal(importance_bound(parts[0]), importance_bound(scored, 4))
        assert len(list(portions(scored, 1, most=3))) == 3


def test_terms_are_unbiased() -> None:
    found = list(estimators.terms(repetitions=8, n=40, k=50))
    assert len(found) == 6
    assert all(within(estimate) for estimate in found), found


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """60 repetitions of 40 texts: the share has a standard error of 3 %, percentile intervals are a little narrow."""
    for estimate in estimators.intervals(repetitions=60, n=40, k=5):
        # Which of two equally frequent values is guessed depends on single texts, see the page.
        lowest = 0.65 if estimate.estimator.startswith("Majority") else 0.82
        assert lowest <= estimate.mean <= 1.0, estimate


class TestIntervalsOnRealTexts:
    def test_every_stored_one_contains_its_expectation_about_as_often_as_it_says(self, stored: list[Estimate]) -> None:
        found = [estimate for estimate in stored if estimate.study == "text_intervals"]
        assert all(estimate.repetitions == 200 and 0.9 <= estimate.mean <= 0.985 for estimate in found), found

    def test_every_text_metric_with_an_interval_is_measured(self, stored: list[Estimate]) -> None:
        measured = {estimate.estimator.split(",")[0] for estimate in stored if estimate.study == "text_intervals"}
        metrics = {name for name in TEXT_METRICS.builtin if isinstance(TEXT_METRICS.get(name)(), PerTextMetric)}
        assert metrics - measured == {"BERTScore", "Empty rate"}

    @pytest.mark.real_data
    def test_the_command_gives_the_stored_shares_again(self, stored: list[Estimate]) -> None:
        folder = data_folder()
        if folder is None or not (folder / "ptb").is_dir() or not (folder / "quora").is_dir():
            pytest.skip("needs the folder DELLA_BENCH_DATA")
        setting = replace(settings(folder)[0], metrics=("Self-BLEU", "Diversity"))
        shares = {estimate.estimator: estimate.mean for estimate in stored}
        for name, truth, intervals in intervals_of(setting, 200, 100):
            share = np.mean([interval.low <= truth <= interval.high for interval in intervals])
            assert share == pytest.approx(shares[f"{name}, PTB"], abs=0.005)


class TestInformation:
    @pytest.mark.parametrize("nats", [0.5, 2.0])
    def test_many_texts_tell_what_the_posterior_holds(self, nats: float) -> None:
        assert channel(nats).mutual_information == pytest.approx(nats, rel=1e-12)
        scored = score(channel(nats), n=1000, k=2, seed=0).texts
        statistics = MutualInformation().statistics(scored)
        # Five standard errors, and the bias of an average over 1,000 texts, below 0.05 nats at 2.
        assert statistics.mean() == pytest.approx(nats, abs=5 * statistics.std() / math.sqrt(1000) + 0.05)

    def test_few_texts_tell_their_number(self) -> None:
        value = MutualInformation().score(score(channel(15.0), n=30, k=2, seed=0).texts).value
        assert math.log(30) - 0.01 < value <= math.log(30) + 1e-12

    def test_near_collapse_it_is_negative_now_and_then_and_right_on_average(self) -> None:
        value, share = estimators.information(repetitions=20, nats=(0.01,), n_texts=(50,))
        assert within(value)
        assert 0.0 < share.mean < 1.0
        assert share.sd == pytest.approx(math.sqrt(share.mean * (1 - share.mean) / 20))

    def test_at_collapse_it_is_zero(self) -> None:
        statistics = MutualInformation().statistics(score(hierarchy().collapsed(), n=30, k=2, seed=0).texts)
        np.testing.assert_allclose(statistics, 0.0, atol=1e-12)


class TestUnits:
    def test_a_collapsed_hierarchy_has_none_where_the_released_count_finds_twelve(self) -> None:
        scored = score(layers(0), n=1000, k=30, seed=0).texts
        assert [ActiveUnits(delta).score(scored).value for delta in (0.01, 0.1, 0.2)] == [0.0, 0.0, 0.0]
        assert ActiveUnits().score(scored).value == 0.0
        expected = (layers(0).conditional_mean_variances > 0.2).sum() / 4
        assert ReleasedActiveUnits().score(scored).value == pytest.approx(expected, abs=0.25)
        assert expected > 2.5

    def test_variances_are_those_of_the_closed_form(self) -> None:
        """1,000 texts give a variance, and the noise of 10 samples in it, to 4.5 % (standard error)."""
        model = layers(6)
        scored = score(model, n=1000, k=10, seed=1).texts
        np.testing.assert_allclose(variances(scored), model.mean_variances, rtol=0.2, atol=0.05)
        one_sample = scored.first_mean.var(axis=0, ddof=1)
        np.testing.assert_allclose(one_sample, model.conditional_mean_variances, rtol=0.2, atol=1e-12)

    def test_the_study_finds_the_released_count(self) -> None:
        (_, released, *_) = estimators.units(repetitions=2, n=100, n_samples=(3,), deltas=(0.2,))
        counts = [4 * ReleasedActiveUnits().score(score(layers(0), 100, 3, seed).texts).value for seed in range(2)]
        assert released.estimator == "one sample of ancestors, collapsed"
        assert released.mean == pytest.approx(np.mean(counts))


class TestPage:
    def test_tables_are_those_of_the_stored_estimates(self, stored: list[Estimate]) -> None:
        for path, content in documents(stored, DOCS).items():
            assert path.read_bytes() == content, f"{path.name} is out of date: python -m tests.estimators docs"

    def test_every_study_is_stored_with_its_seeds(self, stored: list[Estimate]) -> None:
        studies = dict.fromkeys(estimate.study for estimate in stored)
        assert [*studies] == [study.__name__ for study in STUDIES]
        assert studies.keys() == COLUMNS.keys()
        assert {
            estimate.study: estimate.repetitions for estimate in stored if estimate.study in ("terms", "intervals")
        } == {
            "terms": 10,
            "intervals": 200,
        }

    def test_the_command_gives_the_stored_estimates_again(self, stored: list[Estimate]) -> None:
        """The cheap ones. The file has ten digits; sums of doubles in another order move fewer."""
        by_key = {(estimate.study, estimate.estimator, estimate.x): estimate for estimate in stored}
        again = [*estimators.information(nats=(1.0,), n_texts=(10, 30)), *estimators.terms()]
        for estimate in again:
            before = by_key[estimate.study, estimate.estimator, estimate.x]
            for name in ("truth", "mean", "sd", "repetitions"):
                assert getattr(estimate, name) == pytest.approx(getattr(before, name), rel=1e-7, abs=1e-9), estimate

    def test_estimates_read_back(self, stored: list[Estimate]) -> None:
        assert read_csv(write_csv(stored)) == stored

    def test_the_elbo_is_the_bound_of_one_sample_on_average(self, stored: list[Estimate]) -> None:
        """Two estimators of one number: their stored means agree within their errors."""
        scored = score(posteriors()[WRONG], n=100, k=100, seed=0).texts
        elbo = ELBO().statistics(scored)[:, 0] + scored.true_log_p
        (estimate,) = (e for e in stored if e.estimator == f"log p_K, {WRONG}" and e.x == 1)
        assert -elbo.mean() == pytest.approx(estimate.mean, abs=5 * estimate.sd / math.sqrt(10))

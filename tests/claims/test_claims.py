"""Claims: contrasts against scipy's t-tests and a simulation, Holm's procedure against its definition, the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.bootstrap import Array, Interval
from bench.claims import Claim, contrast, judge, read_claims, render_claims
from bench.errors import BenchError
from bench.labels import parse_call, parse_label
from bench.records.schema import Record, RecordedScore
from bench.records.store import RecordStore, StoredRun
from bench.significance import holm
from bench.suites import load_suite
from bench.systems import SYSTEMS
from bench.tasks import TASKS
from tests.mean_metric import Mean

MakeRun = Callable[..., StoredRun]


@pytest.fixture
def make_run(tmp_path: Path, make_record: Callable[..., Record]) -> MakeRun:
    """Writes a finished run with one metric."""

    def make(
        label: str,
        seed: int,
        value: float,
        *,
        half_width: float = 0.0,
        metric: str = "Loss",
        unit: str = "nats",
        task: str = "snli",
        texts: Array | None = None,
        elbos: Sequence[float] = (20.0, 10.0, 10.0),
    ) -> StoredRun:
        spec: Any = make_record().model_dump(mode="json")["spec"]
        spec["system"]["label"], spec["task"]["name"], spec["seed"], spec["scale"] = label, task, seed, "study"
        interval = Interval(value - half_width, value + half_width)
        score = RecordedScore(metric, value, unit, "down", 1000, f"{metric}|v:1", 0.01, interval)
        run_id = f"{abs(hash((label, seed, task, metric, value))):012x}"[:12]
        record = make_record(spec=spec, run_id=run_id, metrics=[score], status="finished", skipped=[])
        curve = [{"epoch": i + 1, "stage": 1, "valid ELBO": elbo} for i, elbo in enumerate(elbos)]
        return RecordStore(tmp_path).write(record, None if texts is None else {metric: texts}, curve=curve)

    return make


def test_without_errors_over_texts_a_contrast_is_a_paired_t_test(make_run: MakeRun) -> None:
    first, second = [3.0, 3.4, 2.9, 3.3], [2.0, 2.1, 2.4, 1.9]
    found = contrast(
        [make_run("a", seed, value) for seed, value in enumerate(first)],
        [make_run("b", seed, value) for seed, value in enumerate(second)],
        "Loss",
        {},
    )
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert found is not None
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert (found.first, found.second, found.n_seeds) == pytest.approx((3.15, 2.1, 4))


def test_a_number_is_compared_as_in_a_t_test_of_one_sample(make_run: MakeRun) -> None:
    values = [0.02, 0.05, 0.03]
    found = contrast([make_run("a", seed, value) for seed, value in enumerate(values)], 0.1, "Loss", {})
    assert found is not None
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0.1).pvalue, rel=1e-9)


def test_one_seed_has_the_error_over_texts_alone(make_run: MakeRun) -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(20.0, 4.0, size=(1000, 1))
    b = a + rng.normal(0.3, 1.0, size=(1000, 1))
    runs = [make_run("a", 0, float(a.mean()), texts=a)], [make_run("b", 0, float(b.mean()), texts=b)]
    paired = contrast(*runs, "Loss", {"Loss": Mean()})
    assert paired is not None
    half = (paired.interval.high - paired.interval.low) / 2
    exact = 1.96 * float((a - b).std(ddof=1)) / math.sqrt(1000)
    assert half == pytest.approx(exact, rel=0.15)  # of 400 resamples: about 4 % for each of two quantiles
    unpaired = contrast([make_run("a", 0, 20.0, half_width=0.25)], [make_run("b", 0, 20.3, half_width=0.6)], "Loss", {})
    assert unpaired is not None
    assert (unpaired.interval.high - unpaired.interval.low) / 2 == pytest.approx(0.65, rel=2e-3)  # t for 999 texts


def test_intervals_over_seeds_and_texts_hold_the_truth_as_often_as_they_say(make_run: MakeRun) -> None:
    """Seeds share their texts, so their errors over texts are one error; simulated without records."""
    from bench.claims.contrast import _contrast

    rng = np.random.default_rng(0)
    covered, repetitions, truth = 0, 2000, 1.0
    for _ in range(repetitions):
        over_texts = rng.normal(0, 0.5)
        differences = truth + over_texts + rng.normal(0, 0.7, size=3)
        found = _contrast([(value, 0.0) for value in differences], [0.5] * 3, 1000, "nats")
        covered += found.interval.low <= truth <= found.interval.high
    assert covered / repetitions >= 0.94  # conservative: 0.95 less three standard errors of the simulation


def test_counts_that_agree_in_all_seeds_have_the_error_of_their_rounding(make_run: MakeRun) -> None:
    rows = [make_run("a", seed, 3.0, unit="count") for seed in range(3)]
    others = [make_run("b", seed, 2.0, unit="count") for seed in range(3)]
    found = contrast(rows, others, "Loss", {})
    assert found is not None
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(1.96 * math.sqrt(2 / 12 / 3), rel=1e-3)


def test_rows_without_a_common_seed_or_the_metric_have_no_contrast(make_run: MakeRun) -> None:
    assert contrast([make_run("a", 0, 1.0)], [make_run("b", 1, 1.0)], "Loss", {}) is None
    assert contrast([make_run("a", 2, 1.0)], [make_run("b", 2, 1.0)], "PPL", {}) is None


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.99))
def test_holm_rejects_by_its_definition(p_values: list[float], level: float) -> None:
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    rejected = set()
    for rank, index in enumerate(order):
        if (len(p_values) - rank) * p_values[index] >= level:
            break
        rejected.add(index)
    adjusted = holm(p_values)
    assert {index for index, p in enumerate(adjusted) if p < level} == rejected


CLAIM = Claim(sentence="A is higher.", source="Table 1", row="a", relation="above", than=("b", "c"), metrics=("Loss",))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"a": 5.0, "b": 1.0, "c": 2.0}, "Holds"),
        ({"a": 5.0, "b": 1.0, "c": 8.0}, "Does not hold"),
        ({"a": 5.0, "b": 1.0, "c": 5.0}, "Undecided"),
    ],
)
def test_a_claim_holds_if_all_of_its_contrasts_do(make_run: MakeRun, values: dict[str, float], verdict: str) -> None:
    runs = [
        make_run(label, seed, value + 0.001 * (seed + 1) ** (2 if label == "a" else 1))
        for label, value in values.items()
        for seed in range(3)
    ]
    findings = judge([CLAIM], {"mine": runs}, {})
    assert len(findings) == 2
    assert render_claims([CLAIM], findings, "md").startswith(f"- A is higher. {verdict} (mine, snli).\n")
    decided = verdict != "Undecided"
    expected = [f"- A is higher. {verdict} (mine, snli)."] if decided else []
    expected += [f"- Undecided: {int(not decided)} more claims; without records: 0."]
    assert render_claims([CLAIM], findings, "summary").splitlines() == expected


def test_one_seed_and_training_that_had_not_ended_decide_nothing(make_run: MakeRun) -> None:
    one = [make_run("a", 0, 5.0, half_width=0.01), make_run("b", 0, 1.0), make_run("c", 0, 1.0)]
    falling = [
        make_run(label, seed, value + 0.01 * seed, elbos=(20.0, 10.0, 9.0) if label == "b" else (20.0, 10.0, 10.0))
        for label, value in {"a": 6.0, "b": 1.5, "c": 1.6}.items()
        for seed in range(3)
    ]
    findings = judge([CLAIM], {"one": one, "falling": falling}, {})
    assert [(f.name, f.other, f.verdict, f.doubt) for f in findings] == [
        ("one", "b", "undecided", "one seed"),
        ("one", "c", "undecided", "one seed"),
        ("falling", "b", "undecided", "training had not ended"),
        ("falling", "c", "holds", ""),
    ]


def test_a_claim_may_compare_two_tasks(make_run: MakeRun) -> None:
    claim = CLAIM.model_copy(update={"row": "d", "than": ("d",), "tasks": ("quora", "snli"), "relation": "below"})
    runs = [
        make_run("d", seed, value + 0.001 * seed**2, task=task)
        for task, value in (("quora", 1.0), ("snli", 3.0))
        for seed in range(3)
    ]
    (finding,) = judge([claim], {"mine": runs}, {})
    assert (finding.task, finding.other, finding.verdict) == ("quora", "d on snli", "holds")
    page = render_claims([claim], [finding], "md")
    assert "| mine | quora | Loss | 1 | d on snli: 3 | -2 [" in page
    assert "(row on quora, others on snli)" in page


def test_mistakes_in_claims_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"^unknown paper with claims 'della-2021'. Did you mean 'della-2022'\?"):
        read_claims("della-2021")
    path = tmp_path / "mine.yaml"
    path.write_text("claims: [{sentence: A, source: B, row: lm, relation: over, than: 1, metrics: [KL]}]")
    with pytest.raises(BenchError, match="relation"):
        read_claims(str(path))
    with pytest.raises(BenchError, match=r"^unknown format 'csv'"):
        render_claims([CLAIM], [], "csv")


def test_the_suite_of_claims_has_all_their_rows() -> None:
    suite = load_suite("claims")
    for claim in read_claims():
        assert {claim.row, *(claim.than if isinstance(claim.than, tuple) else ())} <= set(suite.systems), claim.sentence
        assert set(claim.tasks or ()) <= set(suite.tasks)


def test_the_rows_and_tasks_of_published_claims_exist() -> None:
    assert read_claims()
    for claim in read_claims():
        labels = [claim.row, *(claim.than if isinstance(claim.than, tuple) else ())]
        assert {parse_call(parse_label(label)[0])[0] for label in labels} <= set(SYSTEMS.names())
        assert set(claim.tasks or ()) <= set(TASKS.names())
        assert claim.sentence.endswith(".")

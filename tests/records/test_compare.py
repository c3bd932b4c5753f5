from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from bench.bootstrap import Array, Bootstrap
from bench.errors import BenchError
from bench.metric import PerTextMetric
from bench.records.compare import compare_runs
from bench.records.comparison import exit_code
from bench.records.schema import Record, RecordedScore
from bench.records.store import RecordStore, StoredRun

RNG = np.random.default_rng(7)
TEXTS = RNG.normal(20.0, 4.0, size=(300, 1))


class Mean(PerTextMetric[Array]):
    """The mean of one column."""

    name, version, unit, direction, tolerance = "Loss", 1, "nats", "down", 0.01

    def fields(self, inputs: Array) -> dict[str, object]:
        return {}

    def statistics(self, inputs: Array) -> Array:
        return inputs


@pytest.fixture
def stored(tmp_path: Path, make_record: Callable[..., Record]) -> Callable[..., StoredRun]:
    """Writes a run whose metrics are given as (name, value) or as whole scores."""
    count = iter(range(10**6))

    def store(
        metrics: Sequence[tuple[str, float]] = (),
        statistics: dict[str, Array] | None = None,
        direction: Any = "down",
        tolerance: float = 0.02,
        seed: int = 0,
        **changes: Any,
    ) -> StoredRun:
        scores = [RecordedScore(name, value, "1", direction, 300, f"{name}|v:1", tolerance) for name, value in metrics]
        spec = {**make_record().spec, "seed": seed}
        record = make_record(
            **{"metrics": scores, "spec": spec, "skipped": [], "training": {}, "run_id": f"{seed:012x}", **changes}
        )
        return RecordStore(tmp_path / str(next(count))).write(record, statistics)

    return store


def verdicts(first: StoredRun, second: StoredRun, **options: Any) -> list[tuple[str, str]]:
    return [(c.metric, c.verdict) for c in compare_runs([first], [second], **options)]


@pytest.mark.parametrize(
    ("direction", "second", "verdict"),
    [
        ("down", 20.0, "ok"),
        ("down", 20.39, "ok"),
        ("down", 20.41, "regression"),
        ("down", 19.59, "improvement"),
        ("up", 19.59, "regression"),
        ("up", 20.41, "improvement"),
        (None, 20.41, "regression"),
        (None, 19.59, "regression"),
        (None, 20.39, "ok"),
    ],
)
def test_a_change_beyond_the_tolerance_is_judged_by_direction(
    stored: Callable[..., StoredRun], direction: Any, second: StoredRun, verdict: str
) -> None:
    runs = [stored([("X", value)], direction=direction) for value in (20.0, second)]
    assert verdicts(*runs) == [("X", verdict)]
    (comparison,) = compare_runs(runs[:1], runs[1:])
    assert comparison.change == pytest.approx(second / 20 - 1, abs=1e-15)
    assert exit_code([comparison]) == (verdict == "regression")


def test_negative_values_and_zero(stored: Callable[..., StoredRun]) -> None:
    assert verdicts(stored([("X", -20.0)]), stored([("X", -19.0)])) == [("X", "regression")]
    assert verdicts(stored([("X", 0.0)]), stored([("X", 0.0)])) == [("X", "ok")]
    (comparison,) = compare_runs([stored([("X", 0.0)])], [stored([("X", 1e-3)])])
    assert (comparison.change, comparison.verdict) == (math.inf, "regression")


@pytest.mark.parametrize(
    ("unit", "values", "verdict"),
    [
        ("nats", (0.0246, 0.0241), "ok"),
        ("nats", (0.0246, 0.0400), "regression"),
        ("nats", (0.0, 0.009), "ok"),
        ("nats", (20.0, 20.5), "regression"),
        ("%", (0.02, 0.06), "ok"),
        ("1", (0.0, 1e-9), "ok"),
        ("count", (0.0, 1.0), "regression"),
    ],
)
def test_near_zero_a_change_must_matter_in_its_unit(
    stored: Callable[..., StoredRun], unit: str, values: tuple[float, float], verdict: str
) -> None:
    def run(value: float) -> StoredRun:
        run = stored([("KL", value)], direction=None)
        scores = tuple(replace(score, unit=unit) for score in run.record.metrics)
        return replace(run, record=run.record.model_copy(update={"metrics": scores}))

    (comparison,) = compare_runs([run(values[0])], [run(values[1])])
    assert comparison.verdict == verdict
    if values == (0.0246, 0.0241):
        assert str(comparison).endswith("KL 0.0246 -> 0.0241 (-2.03%, tolerance 0.01)")


def test_what_differs_in_spec_and_components_is_said(
    stored: Callable[..., StoredRun], make_record: Callable[..., Record]
) -> None:
    spec = {**make_record().spec, "seed": 0}
    training = {**cast("dict[str, Any]", spec["training"]), "epochs": 9, "checkpoint_seconds": 1.0}
    longer = {**spec, "training": training}
    components = {**make_record().components, "train": 2}
    first = stored([("X", 20.0)], components={**components, "train": 1})
    for changes, reason in (
        ({"components": components}, "components.train (1 and 2)"),
        ({"spec": longer, "components": {**components, "train": 1}}, "spec.training.epochs (4 and 9)"),
    ):
        said, of_metric = compare_runs([first], [stored([("X", 20.0)], **changes)])
        assert (said.metric, said.verdict) == ("spec", "incomparable")
        assert said.reason == f"the runs differ in {reason}"
        assert of_metric.verdict == "ok"


def test_a_run_twice_in_a_set_counts_once(stored: Callable[..., StoredRun]) -> None:
    run, again = stored([("X", 20.0)]), stored([("X", 20.0)])
    assert [c.verdict for c in compare_runs([run, again], [run])] == ["ok"]


def test_a_paired_test_distinguishes_noise_from_a_change(stored: Callable[..., StoredRun]) -> None:
    """The same mean difference of 5 %, first equal on all texts, then much smaller than the noise between texts."""
    shifted = TEXTS * 1.05
    noise = RNG.normal(0.0, 40.0, size=TEXTS.shape)
    noisy = TEXTS + noise - noise.mean() + 0.05 * TEXTS.mean()
    assert noisy.mean() == pytest.approx(shifted.mean(), rel=1e-12)
    first = stored([("Loss", TEXTS.mean())], {"Loss": TEXTS})
    for rows, verdict in ((shifted, "regression"), (noisy, "ok")):
        second = stored([("Loss", rows.mean())], {"Loss": rows})
        (comparison,) = compare_runs([first], [second], {"Loss": Mean()}, Bootstrap(samples=500))
        assert comparison.verdict == verdict
        assert comparison.paired.difference == pytest.approx(TEXTS.mean() - rows.mean(), rel=1e-12)
        assert (comparison.paired.p_value < 0.05) == (verdict == "regression")
        assert verdicts(first, second) == [("Loss", "regression")]  # without the metric only the tolerance decides


@pytest.mark.parametrize("rows", [None, {"Loss": TEXTS[:10]}, {"Other": TEXTS}], ids=["none", "fewer", "other"])
def test_there_is_no_paired_test_without_statistics_of_the_same_texts(
    stored: Callable[..., StoredRun], rows: dict[str, Array] | None
) -> None:
    first, second = stored([("Loss", 20.0)], {"Loss": TEXTS}), stored([("Loss", 20.0)], rows)
    (comparison,) = compare_runs([first], [second], {"Loss": Mean()})
    assert comparison.paired is None
    assert comparison.verdict == "ok"


def test_two_signatures_are_incomparable(stored: Callable[..., StoredRun]) -> None:
    first = stored([("PPL", 20.0)])
    second = stored([("PPL", 20.0)])
    other = RecordedScore(**{**vars(second.record.metrics[0]), "signature": "PPL|K:30|v:2"})
    second = replace(second, record=second.record.model_copy(update={"metrics": (other,)}))
    (comparison,) = compare_runs([first], [second])
    assert comparison.verdict == "incomparable"
    assert comparison.reason == "signatures differ: PPL|v:1 and PPL|K:30|v:2"
    assert exit_code([comparison]) == 0


def test_different_data_are_incomparable(stored: Callable[..., StoredRun], make_record: Callable[..., Record]) -> None:
    data = {**make_record().data.model_dump(), "sha256": "b" * 64}
    (comparison,) = compare_runs([stored([("X", 1.0)])], [stored([("X", 9.0)], data=data)])
    assert comparison.verdict == "incomparable"
    assert comparison.reason == "the data differ: sha256 5ca1ab1e5ca1 and bbbbbbbbbbbb"


def test_a_missing_metric_has_a_reason(stored: Callable[..., StoredRun]) -> None:
    skipped = [{"metric": "X", "reason": "no latent variable"}]
    (comparison,) = compare_runs([stored([("X", 1.0)])], [stored([], skipped=skipped)])
    assert (comparison.verdict, comparison.reason) == ("incomparable", "not in the second run (no latent variable)")


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (("finished", "diverged"), "regression"),
        (("finished", "skipped"), "regression"),
        (("diverged", "finished"), "improvement"),
        (("skipped", "diverged"), "incomparable"),
        (("finished", "failed"), "regression"),
        (("failed", "diverged"), "incomparable"),
    ],
)
def test_a_change_of_status_is_judged(
    stored: Callable[..., StoredRun], statuses: tuple[str, str], verdict: str
) -> None:
    first, second = (stored([], status=status, reason="because") for status in statuses)
    (comparison,) = compare_runs([first], [second])
    assert (comparison.metric, comparison.verdict) == ("status", verdict)
    assert comparison.reason == f"{statuses[0]}, then {statuses[1]} (because)"


@pytest.mark.parametrize(("status", "verdict"), [("diverged", "ok"), ("skipped", "ok"), ("failed", "incomparable")])
def test_runs_without_figures_are_named(stored: Callable[..., StoredRun], status: str, verdict: str) -> None:
    (comparison,) = compare_runs([stored([], status=status)], [stored([], status=status, reason="because")])
    assert (comparison.metric, comparison.verdict) == ("status", verdict)
    assert comparison.reason == f"{status} in both sets (because)"


def test_speed_is_printed_but_not_judged(stored: Callable[..., StoredRun]) -> None:
    first, second = (stored([], training={"tokens_per_second": value}) for value in (1000.0, 250.0))
    (comparison,) = compare_runs([first], [second])
    assert (comparison.metric, comparison.verdict) == ("tokens_per_second", "ok")
    assert "tokens_per_second 1000 -> 250 (-75.00%): not judged" in str(comparison)


def test_runs_without_counterpart_are_incomparable(stored: Callable[..., StoredRun]) -> None:
    first = [stored([("X", 1.0)], seed=seed) for seed in (0, 1)]
    second = [stored([("X", 1.0)], seed=seed) for seed in (1, 2)]
    result = [(c.seed, c.metric, c.verdict, c.reason) for c in compare_runs(first, second)]
    assert result == [
        (0, "status", "incomparable", "the run is only in the first set"),
        (1, "X", "ok", ""),
        (2, "status", "incomparable", "the run is only in the second set"),
    ]
    with pytest.raises(BenchError, match="nothing to compare"):
        compare_runs(first[:1], second)
    other = stored([("X", 1.0)], run_id="f" * 12, components={"train": 7})
    with pytest.raises(BenchError, match=r"ptb della smoke seed 0: runs \w+ and f{12} differ in components"):
        compare_runs([first[0], other], second)


def test_a_comparison_is_one_line(stored: Callable[..., StoredRun]) -> None:
    changed = compare_runs([stored([("X", 20.0)])], [stored([("X", 25.0)])])[0]
    assert str(changed) == "regression: ptb della smoke seed 0 X 20 -> 25 (+25.00%, tolerance 2.00%)"
    alone = compare_runs([stored([("X", 20.0)])], [stored([])])[0]
    assert str(alone) == "incomparable: ptb della smoke seed 0 X: not in the second run"

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
from bench.records.compare import EXACT, MACHINE, RunComparison, compare_runs, names_of
from bench.records.comparison import ComparedSets
from bench.records.schema import Record, RecordedScore
from bench.records.store import RecordStore, StoredRun
from tests.mean_metric import Mean

HERE = {"processor": "A CPU", "instruction_set": "AVX2", "torch": "2.13.0"}
RNG = np.random.default_rng(7)
TEXTS = RNG.normal(20.0, 4.0, size=(300, 1))


@pytest.fixture
def stored(tmp_path: Path, make_record: Callable[..., Record]) -> Callable[..., StoredRun]:
    """Writes a run whose metrics are given as (name, value) or as whole scores."""
    count = iter(range(60))

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
        number = next(count)
        content = {
            "metrics": scores,
            "spec": spec,
            "skipped": [],
            "training": {},
            "run_id": f"{seed:012x}",
            "created": f"2026-01-01T00:00:{number:02}Z",
            "environment": {**make_record().environment.model_dump(), **HERE},
        }
        return RecordStore(tmp_path / str(number)).write(make_record(**{**content, **changes}), statistics)

    return store


def compared(first: StoredRun, second: StoredRun, *arguments: Any, **options: Any) -> tuple[RunComparison, ...]:
    return cast("tuple[RunComparison, ...]", compare_runs([first], [second], *arguments, **options).comparisons)


def only(first: StoredRun, second: StoredRun, *arguments: Any, **options: Any) -> RunComparison:
    (comparison,) = compared(first, second, *arguments, **options)
    return comparison


def verdicts(first: StoredRun, second: StoredRun, **options: Any) -> list[tuple[str, str]]:
    return [(c.metric, c.verdict) for c in compared(first, second, **options)]


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
    comparison = only(*runs)
    assert comparison.change == pytest.approx(second / 20 - 1, abs=1e-15)
    assert ComparedSets((comparison,)).exit_code == (verdict == "regression")


def test_negative_values_and_zero(stored: Callable[..., StoredRun]) -> None:
    assert verdicts(stored([("X", -20.0)]), stored([("X", -19.0)])) == [("X", "regression")]
    assert verdicts(stored([("X", 0.0)]), stored([("X", 0.0)])) == [("X", "ok")]
    comparison = only(stored([("X", 0.0)]), stored([("X", 1e-3)]))
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

    comparison = only(run(values[0]), run(values[1]))
    assert comparison.verdict == verdict
    if values == (0.0246, 0.0241):
        assert str(comparison).endswith("KL 0.0246 -> 0.0241 (-2.03%, tolerance 0.01) [KL|v:1]")


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
        said, of_metric = compared(first, stored([("X", 20.0)], **changes))
        assert (said.metric, said.verdict, said.obstacle) == ("spec", "incomparable", "spec")
        assert said.reason == f"the runs differ in {reason}"
        assert of_metric.verdict == "ok"


def test_a_paired_test_distinguishes_noise_from_a_change(stored: Callable[..., StoredRun]) -> None:
    """The same mean difference of 5 %, first equal on all texts, then much smaller than the noise between texts."""
    shifted = TEXTS * 1.05
    noise = RNG.normal(0.0, 40.0, size=TEXTS.shape)
    noisy = TEXTS + noise - noise.mean() + 0.05 * TEXTS.mean()
    assert noisy.mean() == pytest.approx(shifted.mean(), rel=1e-12)
    first = stored([("Loss", TEXTS.mean())], {"Loss": TEXTS})
    for rows, verdict in ((shifted, "regression"), (noisy, "ok")):
        second = stored([("Loss", rows.mean())], {"Loss": rows})
        comparison = only(first, second, {"Loss": Mean()}, Bootstrap(samples=500))
        assert comparison.verdict == verdict
        assert comparison.paired.difference == pytest.approx(TEXTS.mean() - rows.mean(), rel=1e-12)
        assert (comparison.paired.p_value < 0.05) == (verdict == "regression")
        assert verdicts(first, second) == [("Loss", "regression")]  # without the metric only the tolerance decides


@pytest.mark.parametrize("rows", [None, {"Loss": TEXTS[:10]}, {"Other": TEXTS}], ids=["none", "fewer", "other"])
def test_there_is_no_paired_test_without_statistics_of_the_same_texts(
    stored: Callable[..., StoredRun], rows: dict[str, Array] | None
) -> None:
    first, second = stored([("Loss", 20.0)], {"Loss": TEXTS}), stored([("Loss", 20.0)], rows)
    comparison = only(first, second, {"Loss": Mean()})
    assert comparison.paired is None
    assert comparison.verdict == "ok"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
@pytest.mark.parametrize("second", [19.0, 25.0])
def test_an_infinite_statistic_allows_no_paired_test_and_the_tolerance_decides(
    stored: Callable[..., StoredRun], infinite: float, second: float
) -> None:
    rows = TEXTS.copy()
    rows[3] = infinite
    runs = [stored([("Loss", value)], {"Loss": rows}) for value in (20.0, second)]
    comparison = only(*runs, {"Loss": Mean()})
    assert (comparison.paired, comparison.verdict) == (None, "improvement" if second < 20 else "regression")


def test_a_paired_test_is_made_only_where_it_decides(
    stored: Callable[..., StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the statistics takes most of the time of a comparison."""
    read: list[StoredRun] = []

    def statistics(run: StoredRun, names: object) -> dict[str, Array]:
        read.append(run)
        return {}

    monkeypatch.setattr(StoredRun, "statistics", statistics)
    first = stored([("Loss", 20.0)])
    assert only(first, stored([("Loss", 20.1)]), {"Loss": Mean()}).verdict == "ok"
    assert read == []
    assert only(first, stored([("Loss", 25.0)]), {"Loss": Mean()}).verdict == "regression"
    assert len(read) == 2


SKIPPED = {"metric": "X", "reason": "no latent variable"}


@pytest.mark.parametrize(
    ("first", "second", "obstacle", "reason"),
    [
        ({}, {"skipped": [SKIPPED]}, "missing", "no value, then skipped (no latent variable)"),
        ({"skipped": [SKIPPED]}, {}, "missing", "skipped (no latent variable), then no value"),
        ({"value": 20.0}, {}, "missing", "20, then no value"),
        ({}, {"value": 20.0}, "missing", "no value, then 20"),
        ({"value": 20.0}, {"skipped": [SKIPPED]}, "skipped", "20, then skipped (no latent variable)"),
        ({"skipped": [SKIPPED]}, {"value": 20.0}, "skipped", "skipped (no latent variable), then 20"),
        (
            {"skipped": [SKIPPED]},
            {"skipped": [{**SKIPPED, "reason": "the value is not finite"}]},
            "skipped",
            "skipped (no latent variable), then skipped (the value is not finite)",
        ),
    ],
)
def test_a_metric_without_two_values_is_named_with_both_sides(
    stored: Callable[..., StoredRun], first: dict[str, Any], second: dict[str, Any], obstacle: str, reason: str
) -> None:
    runs = [
        stored([("Y", 1.0), *([("X", side["value"])] if "value" in side else [])], skipped=side.get("skipped", []))
        for side in (first, second)
    ]
    result = compare_runs(runs[:1], runs[1:])
    of_y, of_x = sorted(result.comparisons, key=lambda c: c.name, reverse=True)
    assert (of_y.verdict, of_x.verdict, of_x.obstacle, of_x.reason) == ("ok", "incomparable", obstacle, reason)
    assert result.exit_code == 3


def test_a_metric_that_both_skip_for_one_reason_is_not_mentioned(stored: Callable[..., StoredRun]) -> None:
    runs = [stored([("Y", 1.0)], skipped=[SKIPPED]) for _ in range(2)]
    assert verdicts(*runs) == [("Y", "ok")]


def with_signature(run: StoredRun, signature: str, n: int = 300) -> StoredRun:
    scores = tuple(replace(score, signature=signature, n=n) for score in run.record.metrics)
    return replace(run, record=run.record.model_copy(update={"metrics": scores}))


def test_two_signatures_are_incomparable_whatever_the_values(stored: Callable[..., StoredRun]) -> None:
    first, second = stored([("PPL", 20.0)]), with_signature(stored([("PPL", 60.0)]), "PPL|K:30|v:2")
    comparison = only(first, second)
    assert (comparison.verdict, comparison.obstacle) == ("incomparable", "signature")
    assert comparison.reason == "signatures differ: PPL|v:1 and PPL|K:30|v:2"
    assert ComparedSets((comparison,)).exit_code == 3


def test_scores_of_other_numbers_of_texts_are_incomparable(stored: Callable[..., StoredRun]) -> None:
    first, second = stored([("PPL", 20.0)]), with_signature(stored([("PPL", 20.0)]), "PPL|v:1", n=299)
    comparison = only(first, second)
    assert (comparison.verdict, comparison.obstacle) == ("incomparable", "data")
    assert str(comparison).endswith("PPL 20 -> 20 (+0.00%): of 300 texts, then of 299")


def test_different_data_are_incomparable(stored: Callable[..., StoredRun], make_record: Callable[..., Record]) -> None:
    data = {**make_record().data.model_dump(), "sha256": "b" * 64}
    comparison = only(stored([("X", 1.0)]), stored([("X", 9.0)], data=data))
    assert (comparison.metric, comparison.verdict, comparison.obstacle) == ("data", "incomparable", "data")
    assert comparison.reason == "the data differ: sha256 5ca1ab1e5ca1 and bbbbbbbbbbbb"


def test_a_crash_on_other_data_is_worse_all_the_same(
    stored: Callable[..., StoredRun], make_record: Callable[..., Record]
) -> None:
    data = {**make_record().data.model_dump(), "sha256": "b" * 64}
    second = stored([], status="diverged", reason="the loss", data=data)
    assert verdicts(stored([("X", 1.0)]), second) == [("data", "incomparable"), ("status", "regression")]


@pytest.mark.parametrize(
    ("statuses", "verdict", "obstacle"),
    [
        (("finished", "diverged"), "regression", None),
        (("finished", "skipped"), "regression", None),
        (("diverged", "finished"), "improvement", None),
        (("skipped", "finished"), "incomparable", "skipped"),
        (("skipped", "diverged"), "incomparable", "skipped"),
        (("diverged", "skipped"), "incomparable", "skipped"),
        (("skipped", "skipped"), "unjudged", None),
        (("diverged", "diverged"), "unjudged", None),
        (("finished", "failed"), "regression", None),
        (("failed", "finished"), "improvement", None),
        (("failed", "skipped"), "incomparable", "skipped"),
        (("failed", "failed"), "incomparable", "status"),
    ],
)
def test_a_change_of_status_is_judged(
    stored: Callable[..., StoredRun], statuses: tuple[str, str], verdict: str, obstacle: str | None
) -> None:
    first, second = (
        stored(
            [("X", 1.0)] if status == "finished" else [], status=status, reason=None if status == "finished" else "why"
        )
        for status in statuses
    )
    comparison = only(first, second)
    assert (comparison.metric, comparison.verdict, comparison.obstacle) == ("status", verdict, obstacle)
    before, after = (status + (" (why)" if status != "finished" else "") for status in statuses)
    assert comparison.reason == (f"{before} in both sets" if verdict == "unjudged" else f"{before}, then {after}")


def test_failures_and_skips_for_other_reasons_are_incomparable(stored: Callable[..., StoredRun]) -> None:
    for status, obstacle in (("skipped", "skipped"), ("diverged", "status")):
        comparison = only(*(stored([], status=status, reason=reason) for reason in ("one", "two")))
        assert (comparison.verdict, comparison.obstacle) == ("incomparable", obstacle)
        assert comparison.reason == f"{status} (one), then {status} (two)"


def test_sets_in_which_nothing_ran_are_not_fine(stored: Callable[..., StoredRun]) -> None:
    """Unless something else was compared."""
    first, second = ([stored([], status="skipped", reason="why", seed=1)] for _ in range(2))
    alone = compare_runs(first, second)
    assert (alone.exit_code, alone.nothing_judged, alone.counts["unjudged"]) == (3, True, 1)
    assert alone.remarks == ("runs without a score in either set: 1 (--all names them)",)
    beside = compare_runs([*first, stored([("X", 1.0)])], [*second, stored([("X", 1.0)])])
    assert (beside.exit_code, beside.counts["ok"], beside.counts["unjudged"]) == (0, 1, 1)
    assert compare_runs([], []).exit_code == 3


def test_finished_runs_without_a_score_are_not_fine(stored: Callable[..., StoredRun]) -> None:
    result = compare_runs([stored([])], [stored([])])
    assert [(c.name, c.verdict) for c in result.comparisons] == [("status", "unjudged")]
    assert result.exit_code == 3


def test_one_run_twice_is_no_comparison(stored: Callable[..., StoredRun], tmp_path: Path) -> None:
    run = stored([("X", 20.0)])
    copy = RecordStore(tmp_path / "copy").write(run.record)
    edited = with_signature(copy, "X|v:1")
    better = replace(edited.record.metrics[0], value=10.0)
    edited = replace(edited, record=edited.record.model_copy(update={"metrics": (better,)}))
    for second, said, verdict in (
        (run, "the same file", "ok"),
        (copy, "copies of one run", "ok"),
        (edited, "copies", "improvement"),
    ):
        of_run, of_metric = compared(run, second)
        assert (of_run.metric, of_run.verdict, of_run.obstacle) == ("run", "incomparable", "same")
        assert of_run.reason.startswith(said)
        assert of_run.reason.endswith(f"{run.record.run_id} of 2026-01-01 00:00:00 in both sets")
        assert of_metric.verdict == verdict
        assert ComparedSets((of_run, of_metric)).exit_code == 3


def test_a_repeated_run_is_not_a_copy(stored: Callable[..., StoredRun]) -> None:
    first, second = stored([("X", 20.0)]), stored([("X", 20.0)])
    assert first.record.run_id == second.record.run_id
    assert verdicts(first, second) == [("X", "ok")]


def test_speed_is_printed_but_not_judged(stored: Callable[..., StoredRun]) -> None:
    first, second = (stored([("X", 1.0)], training={"tokens_per_second": value}) for value in (1000.0, 250.0))
    _, of_speed = compared(first, second)
    assert (of_speed.metric, of_speed.verdict) == ("tokens_per_second", "unjudged")
    assert "tokens_per_second 1000 -> 250 (-75.00%): not judged" in str(of_speed)


def test_runs_without_counterpart_are_incomparable(stored: Callable[..., StoredRun]) -> None:
    first = [stored([("X", 1.0)], seed=seed) for seed in (0, 1)]
    second = [stored([("X", 1.0)], seed=seed) for seed in (1, 2)]
    result = compare_runs(first, second)
    comparisons = cast("tuple[RunComparison, ...]", result.comparisons)
    assert [(c.seed, c.metric, c.verdict, c.obstacle, c.reason) for c in comparisons] == [
        (0, "run", "incomparable", "missing", "finished (000000000000) in the first set, no run in the second"),
        (1, "X", "ok", None, ""),
        (2, "run", "incomparable", "missing", "no run in the first set, finished (000000000002) in the second"),
    ]
    assert result.exit_code == 3
    alone = compare_runs(first[:1], second[1:])
    assert ([c.obstacle for c in alone.comparisons], alone.exit_code) == (["missing"] * 2, 3)


def test_a_set_with_two_runs_of_one_key_is_an_error(stored: Callable[..., StoredRun]) -> None:
    run, other = stored([("X", 1.0)]), stored([("X", 1.0)], run_id="f" * 12, components={"train": 7})
    with pytest.raises(BenchError, match=r"ptb della smoke seed 0: runs \w+ and f{12} differ in components"):
        compare_runs([run, other], [run])


def test_a_run_twice_in_a_set_counts_once(stored: Callable[..., StoredRun]) -> None:
    run, again, other = (stored([("X", 20.0)]) for _ in range(3))
    assert [c.verdict for c in compare_runs([run, again], [other]).comparisons] == ["ok"]


def test_worse_wins_over_incomparable(stored: Callable[..., StoredRun]) -> None:
    result = compare_runs([stored([("X", 1.0), ("Y", 1.0)])], [stored([("X", 2.0)])])
    assert [c.verdict for c in result.comparisons] == ["regression", "incomparable"]
    assert result.exit_code == 1


@pytest.mark.parametrize("direction", ["up", "down", None])
@pytest.mark.parametrize(
    ("factor", "verdict"), [(1 + 0.9 * EXACT, "ok"), (1 + 2 * EXACT, "regression"), (0.9, "regression")]
)
def test_exactly_every_change_above_rounding_is_worse_in_either_direction(
    stored: Callable[..., StoredRun], direction: Any, factor: float, verdict: str
) -> None:
    noise = {"Loss": TEXTS}, {"Loss": TEXTS + RNG.normal(0, 40.0, TEXTS.shape)}
    first = stored([("Loss", 20.0)], noise[0], direction=direction, tolerance=0.5)
    second = stored([("Loss", 20.0 * factor)], noise[1], direction=direction, tolerance=0.5)
    comparison = only(first, second, {"Loss": Mean()}, exact=True)
    assert (comparison.verdict, comparison.paired, comparison.tolerance) == (verdict, None, EXACT)
    assert only(first, second, {"Loss": Mean()}).verdict == "ok"
    assert (verdict == "ok") or "tolerance 1e-06" in str(comparison)


@pytest.mark.parametrize(
    ("entry", "known"), [*((entry, True) for entry in MACHINE), *((entry, False) for entry in HERE)]
)
def test_on_another_machine_exact_says_so_and_takes_the_tolerance(
    stored: Callable[..., StoredRun], make_record: Callable[..., Record], entry: str, known: bool
) -> None:
    environment = {**make_record().environment.model_dump(), **HERE}
    other = {**environment, entry: (7 if entry == "threads" else "another") if known else None}
    first, second = stored([("X", 20.0)]), stored([("X", 20.1)], environment=other)
    result = compare_runs([first], [second], exact=True)
    assert [c.verdict for c in result.comparisons] == ["ok"]
    assert result.comparisons[0].note == "other machine"
    shown = other[entry] if known else "not recorded"
    differ = f"{entry} ({environment[entry]} and {shown})"
    assert result.remarks == (f"runs judged by tolerances, not exactly: 1; their machines differ in {differ}",)
    assert compare_runs([first], [second]).remarks == ()


@pytest.mark.parametrize("direction", ["up", "down", None])
@pytest.mark.parametrize(("value", "verdict"), [(20.3, "ok"), (20.5, "regression"), (19.5, "regression")])
def test_on_another_machine_exact_counts_either_direction_beyond_the_tolerance(
    stored: Callable[..., StoredRun], make_record: Callable[..., Record], direction: Any, value: float, verdict: str
) -> None:
    here = {**make_record().environment.model_dump(), **HERE}
    other = {**here, "threads": 7}
    first, second = (stored([("X", x)], direction=direction, environment=e) for x, e in ((20.0, other), (value, here)))
    assert only(first, second, exact=True).verdict == verdict


def test_a_machine_that_is_not_known_is_not_the_same(
    stored: Callable[..., StoredRun], make_record: Callable[..., Record]
) -> None:
    unknown = make_record().environment.model_dump()
    runs = [stored([("X", value)], environment=unknown) for value in (20.0, 20.1)]
    result = compare_runs(runs[:1], runs[1:], exact=True)
    assert "processor (not recorded and not recorded)" in result.remarks[0]
    assert result.comparisons[0].verdict == "ok"


def test_names_of_runs(stored: Callable[..., StoredRun]) -> None:
    runs = [stored([("X", 1.0)], skipped=[{"metric": "MAUVE", "reason": "not installed"}])]
    assert names_of(runs) == {"run", "data", "spec", "status", "X", "MAUVE"}


def test_a_comparison_is_one_line(stored: Callable[..., StoredRun]) -> None:
    changed = only(stored([("X", 20.0)]), stored([("X", 25.0)]))
    assert str(changed) == "regression: ptb della smoke seed 0 X 20 -> 25 (+25.00%, tolerance 2.00%) [X|v:1]"
    alone = only(stored([("X", 20.0)]), stored([]))
    assert str(alone) == "incomparable: ptb della smoke seed 0 X: 20, then no value"

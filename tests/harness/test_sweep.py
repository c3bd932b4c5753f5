"""A sweep: the learning rate with the lowest validation ELBO, and the same weights whether it was chosen or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.errors import BenchError
from bench.harness.plan import run_spec
from bench.harness.run import run
from bench.harness.sweep import plan_sweep, tuned
from bench.records.store import StoredRun, load_runs
from bench.report import build_table
from bench.scales import Scale
from bench.specs import RunSpec, SweepSpec
from bench.suites import Layout
from tests.harness.conftest import MICRO

SWEEP = SweepSpec(learning_rates=(3e-2, 1e-3), tasks=("snli", "quora"), seed=0)


def planned(systems: list[str], tasks: list[str], seeds: list[int]) -> list[RunSpec]:
    scale = Scale.model_validate(MICRO)
    return [
        run_spec(label, task, seed, "micro", scale.for_task(task), "grammar")
        for task in tasks
        for label in systems
        for seed in seeds
    ]


def test_each_row_is_tried_on_one_task_of_each_kind_in_use() -> None:
    trials = plan_sweep(SWEEP, planned(["lm", "della@layers=1"], ["ptb", "yelp"], [1, 2]), planned)
    assert [spec.title for spec in trials] == [
        "snli lm@learning_rate=0.001 seed 0",
        "snli lm@learning_rate=0.03 seed 0",
        "snli della@layers=1,learning_rate=0.001 seed 0",
        "snli della@layers=1,learning_rate=0.03 seed 0",
    ]
    assert [spec.training and spec.training.learning_rate for spec in trials] == [1e-3, 3e-2] * 2
    both = plan_sweep(SWEEP, planned(["lm"], ["cnn_dailymail", "ptb"], [0]), planned)
    assert [spec.task.name for spec in both] == ["quora", "quora", "snli", "snli"]
    assert plan_sweep(None, planned(["lm"], ["ptb"], [0]), planned) == []


def test_a_sweep_that_lacks_a_kind_of_task_is_refused() -> None:
    only_texts = SWEEP.model_copy(update={"tasks": ("snli",)})
    message = "^the sweep tries no learning rate for quora: sweep.tasks names no conditional task.$"
    with pytest.raises(BenchError, match=message):
        plan_sweep(only_texts, planned(["lm"], ["quora"], [0]), planned)
    with pytest.raises(BenchError, match=r"^lm@learning_rate=0.1: the sweep of the suite chooses the learning rate;"):
        plan_sweep(SWEEP, planned(["lm@learning_rate=0.1"], ["ptb"], [0]), planned)
    with pytest.raises(ValidationError, match="a value is given twice"):
        SweepSpec(learning_rates=(1e-3, 1e-3), tasks=("snli",))


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    folder = tmp_path_factory.mktemp("sweep")
    for spec in plan_sweep(SWEEP, planned(["lm", "embed"], ["snli"], [0]), planned):
        run(spec, folder)
    return list(load_runs([folder]))


def best_elbo(stored: StoredRun) -> float:
    return min(row["valid ELBO"] for row in stored.curve() or ())


def test_the_lowest_validation_elbo_chooses(trials: list[StoredRun]) -> None:
    for label in ("lm", "embed"):
        of_row = [stored for stored in trials if stored.record.label.startswith(label)]
        best = min(of_row, key=best_elbo)
        specs = tuned(planned([label], ["snli", "ptb"], [0, 7]), SWEEP, trials)
        assert len(specs) == 4
        for spec in specs:
            assert (spec.training and spec.training.learning_rate) == best.record.spec["training"]["learning_rate"]
            assert (spec.sweep, spec.system.label) == (SWEEP, label)


def test_weights_that_the_sweep_trained_are_not_trained_again(trials: list[StoredRun]) -> None:
    folder = trials[0].path.parent.parent
    (spec,) = tuned(planned(["lm"], ["snli"], [0]), SWEEP, trials)
    record = run(spec, folder)
    same = [stored.record for stored in trials if stored.record.training_id == record.training_id]
    assert len(same) == 1
    assert record.run_id != same[0].run_id
    assert [score.value for score in record.metrics] == [score.value for score in same[0].metrics]
    assert record.timings[-1] != same[0].timings[-1]


def test_a_row_without_a_finished_run_gets_the_lowest_learning_rate(trials: list[StoredRun]) -> None:
    failed = [
        StoredRun(stored.record.model_copy(update={"status": "failed", "reason": "no"}), stored.path)
        if stored.record.label.startswith("lm")
        else stored
        for stored in trials
    ]
    (spec,) = tuned(planned(["lm"], ["ptb"], [0]), SWEEP, failed)
    assert spec.training is not None
    assert spec.training.learning_rate == 1e-3
    one = [stored for stored in failed if stored.record.label == "embed@learning_rate=0.03"]
    (spec,) = tuned(planned(["embed"], ["ptb"], [0]), SWEEP, one)
    assert spec.training is not None
    assert spec.training.learning_rate == 3e-2


def test_the_table_says_which_learning_rates_were_chosen_and_how(trials: list[StoredRun], tmp_path: Path) -> None:
    records = [run(spec, tmp_path) for spec in tuned(planned(["lm", "embed"], ["snli"], [0]), SWEEP, trials)]
    rates: dict[str, Any] = {r.label: r.spec["training"]["learning_rate"] for r in records}
    layout = Layout.model_validate({"rows": ["lm", "embed"], "tasks": ["snli"], "metrics": ["PPL"]})
    notes = "\n".join(build_table(records, layout).notes)
    assert "one of 0.001, 0.03 with the lowest validation ELBO on snli and quora, seed 0, in 2 runs a row" in notes
    assert all(f"{rate} for " in notes for rate in rates.values())
    untuned = run(planned(["embed"], ["snli"], [0])[0], tmp_path / "other")
    with pytest.raises(BenchError, match="differ in sweep"):
        build_table([records[0], untuned], layout)

"""Submitting records: what is right is copied whole, and each thing that is wrong is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.harness.grid import run_grid
from bench.harness.plan import plan
from bench.harness.sweep import plan_sweep, tuned
from bench.records.store import RECORD, RecordStore, StoredRun, load_runs
from bench.specs import RunSpec
from bench.submission import copy_runs, problems
from bench.suites import Suite
from tests.cli.conftest import SCALE

SUITE = Suite.model_validate(
    {
        "name": "mine",
        "seeds": [0, 1],
        "sweep": {"learning_rates": [0.001, 0.01], "tasks": ["snli"]},
        "layout": {"rows": ["lm", "embed"], "tasks": ["snli", "ptb"], "metrics": ["PPL", "KL"]},
    }
)
SMALL = str(SCALE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a row of the suite and its sweep, as ``run`` makes it from a clean commit."""
    out = tmp_path_factory.mktemp("made")

    def planned(systems: list[str], tasks: list[str], seeds: list[int]) -> list[RunSpec]:
        return plan(SUITE, SMALL, systems=systems, tasks=tasks, seeds=seeds)

    specs = planned(["lm"], ["snli"], [0, 1])
    trials = plan_sweep(SUITE.sweep, specs, planned)
    run_grid(trials, out)
    assert SUITE.sweep is not None
    run_grid(tuned(specs, SUITE.sweep, load_runs([out])), out)
    for stored in load_runs([out]):
        rewrite(stored, commit="0" * 40, dirty=False)
    return out


def rewrite(stored: StoredRun, **changes: Any) -> None:
    """Writes a record anew with changes, and the files that belong to it."""
    record = stored.record.model_copy(update=changes)
    store = RecordStore(stored.path.parent.parent)
    store.write(record, stored.statistics() or None, stored.generations(100) or None, stored.curve())


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "records"))


def found(folder: Path, ours: Path | None = None) -> list[str]:
    return problems(load_runs([folder]), load_runs([ours]) if ours else [], SUITE, SMALL)


def test_a_whole_row_is_accepted_and_copied_once(folder: Path, tmp_path: Path) -> None:
    assert found(folder) == []
    target = tmp_path / "reference"
    assert copy_runs(load_runs([folder]), target) == 4
    assert copy_runs(load_runs([folder]), target) == 0
    assert found(folder, target) == []
    for stored in load_runs([folder]):
        for name in (RECORD, *stored.record.files):
            copied = target / stored.path.parent.name / name
            assert copied.read_bytes() == stored.path.with_name(name).read_bytes()


def run_of(folder: Path, label: str, seed: int = 0) -> StoredRun:
    return next(run for run in load_runs([folder]) if (run.record.label, run.record.seed) == (label, seed))


def damage(folder: Path) -> None:
    with run_of(folder, "lm").path.with_name("curve.jsonl").open("a") as file:
        file.write("\n")


def lose_a_seed(folder: Path) -> None:
    shutil.rmtree(run_of(folder, "lm", 1).path.parent)


def lose_a_trial(folder: Path) -> None:
    shutil.rmtree(run_of(folder, "lm@learning_rate=0.01").path.parent)


def without_commit(folder: Path) -> None:
    rewrite(run_of(folder, "lm"), dirty=True)


def fail(folder: Path) -> None:
    rewrite(run_of(folder, "lm"), status="failed", reason="no memory")


def train_longer(folder: Path) -> None:
    run = run_of(folder, "lm")
    spec = json.loads(json.dumps(run.record.spec))
    spec["training"]["epochs"] = 9
    rewrite(run, spec=spec)


def without_sweep(folder: Path) -> None:
    run = run_of(folder, "lm")
    spec = json.loads(json.dumps(run.record.spec))
    del spec["sweep"]
    rewrite(run, spec=spec)


def with_another_learning_rate(folder: Path) -> None:
    run = run_of(folder, "lm")
    spec = json.loads(json.dumps(run.record.spec))
    spec["training"]["learning_rate"] = {0.001: 0.01, 0.01: 0.001}[spec["training"]["learning_rate"]]
    rewrite(run, spec=spec)


def beat_the_entropy(folder: Path) -> None:
    run = run_of(folder, "lm")
    scores = (replace(s, value=0.5, interval=None) if s.name == "PPL" else s for s in run.record.metrics)
    rewrite(run, metrics=tuple(scores))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage, "damaged: its SHA-256 is not the one"),
        (lose_a_seed, "lm on snli: no run of seed 1"),
        (lose_a_trial, "lm on snli: no run of its sweep: snli lm@learning_rate=0.01 seed 0"),
        (without_commit, "made by code without a commit, or with changes that are in none"),
        (fail, "failed (no memory); run it again with --retry failed"),
        (train_longer, "not a run of mine at"),
        (without_sweep, "spec.sweep"),
        (with_another_learning_rate, "spec.training.learning_rate"),
        (beat_the_entropy, "audit: "),
    ],
)
def test_what_is_wrong_is_named(folder: Path, change: Callable[[Path], None], message: str) -> None:
    change(folder)
    lines = found(folder)
    assert any(message in line for line in lines), lines


def test_records_of_other_data_do_not_share_a_table(folder: Path, tmp_path: Path) -> None:
    ours = Path(shutil.copytree(folder, tmp_path / "ours"))
    run = run_of(ours, "lm")
    rewrite(run, data=run.record.data.model_copy(update={"sha256": "0" * 64}), run_id="0" * 12)
    assert any(line.startswith("table with our records: ") for line in found(folder, ours))


def test_the_command_checks_and_copies(della_bench: Callable[..., Any], workplace: Path, folder: Path) -> None:
    (workplace / "mine.yaml").write_text(yaml.safe_dump(SUITE.model_dump(mode="json", exclude_unset=True)))
    command = ("submit", folder, "--suite", "mine.yaml", "--scale", "micro.yaml", "--reference", "reference")
    checked = della_bench(*command, "--check")
    assert (checked.code, checked.out) == (0, "4 records, 0 problems\n")
    assert not (workplace / "reference").exists()
    assert della_bench(*command).out == "reference/mine-micro: 4 of 4 records are new\n"
    shutil.rmtree(run_of(folder, "lm", 1).path.parent)
    failed = della_bench(*command)
    assert (failed.code, failed.out) == (1, "lm on snli: no run of seed 1\n3 records, 1 problems\n")

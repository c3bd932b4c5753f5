"""What a folder says about its runs: its plans, its locks and its records, each of which may be missing or odd."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.harness.lock import Lock, acquire
from bench.harness.status import PlannedRun, remove_done_plans, states, write_plan
from bench.records.schema import Record
from bench.records.store import CHECKPOINT, DAMAGED, PREVIOUS, RecordStore

FOLDER = "snli.embed@layers=2.s3.0123456789ab"


def planned(folder: str | None = None, seed: int = 3) -> PlannedRun:
    return PlannedRun(task="snli", label="embed@layers=2", scale="smoke", seed=seed, folder=folder)


@pytest.fixture
def owner(tmp_path: Path) -> Lock:
    return acquire(tmp_path / ".0123456789ab.lock", FOLDER)


def test_runs_wait_run_and_end(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    record = make_record(status="failed", reason="KeyError: 'x'")
    store = RecordStore(tmp_path)
    own = store.path(record.spec, record.run_id).name
    label, seed = record.label, record.seed
    done = PlannedRun(task=record.task, label=label, scale=record.scale, seed=seed, folder=own)
    write_plan([planned(FOLDER), planned(None, seed=4), done], tmp_path)
    write_plan([planned(FOLDER)], tmp_path)  # a second grid with the same run
    assert list(map(str, states(tmp_path))) == [
        "waiting   snli embed@layers=2 seed 3",
        "waiting   snli embed@layers=2 seed 4",
        f"waiting   {record.task} {label} seed {seed}",
    ]
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "checkpoint.safetensors").write_bytes(b"")
    path = store.write(record, failure="Traceback").path
    assert list(map(str, states(tmp_path))) == [
        "waiting   snli embed@layers=2 seed 3: resumes from its checkpoint",
        "waiting   snli embed@layers=2 seed 4",
        f"failed    {record.task} {label} seed {seed}: KeyError: 'x' (traceback in {path.with_name('failure.txt')})",
    ]


def test_a_plan_goes_when_all_of_its_runs_are_recorded(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    record = make_record()
    store = RecordStore(tmp_path)
    own = planned(store.path(record.spec, record.run_id).name)
    for runs in ([own], [own, planned(FOLDER)], [own, planned(None)]):
        write_plan(runs, tmp_path)
    remove_done_plans(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    store.write(record)
    remove_done_plans(tmp_path)
    assert len(list(tmp_path.glob(".plan.*"))) == 2


@pytest.mark.parametrize("with_plan", [True, False])
def test_a_lock_says_how_far_its_run_is(tmp_path: Path, owner: Lock, with_plan: bool) -> None:
    """Also without a plan: the name of the folder names the run."""
    if with_plan:
        write_plan([planned(FOLDER)], tmp_path)
    with owner:
        owner.report("train", 0.256)
        owner.write()
        (running,) = states(tmp_path)
        assert str(running) == f"running   snli embed@layers=2 seed 3: train 26%, {owner.owner}, for 0 min"
        told = json.loads(json.dumps(running.as_dict()))
        assert (told["task"], told["label"], told["seed"], told["folder"]) == ("snli", "embed@layers=2", 3, FOLDER)
        assert (told["state"], told["owner"]["phase"], told["owner"]["fraction"]) == ("running", "train", 0.256)
        assert told["owner"]["process"] == owner.owner.process
    assert [run.state for run in states(tmp_path)] == ["waiting"] * with_plan


def test_a_recorded_run_that_is_run_again_is_running(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    record = make_record(status="failed", reason="KeyError")
    folder = RecordStore(tmp_path).write(record).path.parent.name
    with acquire(tmp_path / ".0123456789ab.lock", folder):
        assert [run.state for run in states(tmp_path)] == ["running"]
    assert [run.state for run in states(tmp_path)] == ["failed"]


@pytest.mark.parametrize("run", ["x", "", "snli.lm.sX.0", "../../etc"])
def test_a_lock_with_an_odd_name_is_passed_over(tmp_path: Path, run: str) -> None:
    with acquire(tmp_path / ".0123456789ab.lock", run):
        assert states(tmp_path) == []


@pytest.mark.parametrize("name", [FOLDER, "odd"])
def test_a_damaged_record_is_one_line_among_the_others(
    tmp_path: Path, make_record: Callable[..., Record], name: str
) -> None:
    """The name of its folder tells which run it is; under another name, the file is named alone."""
    record = make_record()
    whole = RecordStore(tmp_path).write(record).path
    (tmp_path / name).mkdir()
    damaged = tmp_path / name / "record.json"
    damaged.write_bytes(whole.read_bytes()[:-9])
    title = "snli embed@layers=2 seed 3: " if name == FOLDER else ""
    damage, done = map(str, states(tmp_path))
    assert damage.startswith(f"damaged   {title}{damaged}: not JSON")
    assert done == f"{record.status:<9} {record.task} {record.label} seed {record.seed}"
    told = json.loads(json.dumps(states(tmp_path)[0].as_dict()))
    assert (told["state"], told.get("folder")) == ("damaged", FOLDER if name == FOLDER else None)
    with acquire(tmp_path / ".0123456789ab.lock", FOLDER):
        running = [run.state for run in states(tmp_path)]
    assert running == (["running", "finished"] if name == FOLDER else ["running", "damaged", "finished"])


@pytest.mark.parametrize("content", ["[]", "{}", '{"runs": [{}]}', "\xff"])
def test_a_damaged_plan_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / ".plan.x.json").write_text(content)
    with pytest.raises(BenchError, match=r"\.plan\.x\.json"):
        states(tmp_path)


@pytest.mark.parametrize(("name", "resumes"), [(PREVIOUS, True), (f"{CHECKPOINT}{DAMAGED}", False)])
def test_what_an_interrupted_run_resumes_from(tmp_path: Path, name: str, resumes: bool) -> None:
    write_plan([planned(FOLDER)], tmp_path)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / name).write_bytes(b"")
    (waiting,) = states(tmp_path)
    assert waiting.note == ("resumes from its checkpoint" if resumes else "")

"""Replacement of records: nothing of the old set is lost, whatever fails, and each record says why it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.records.compare import compare_runs
from bench.records.schema import Record, RecordedScore
from bench.records.store import RecordStore, StoredRun, load_runs
from bench.records.update import Update

REASON = "the loss counts the end of the text"


@pytest.fixture
def write(tmp_path: Path, make_record: Callable[..., Record]) -> Callable[..., StoredRun]:
    """Writes a run with all its files into one of the two sets."""

    def write(which: str, value: float, seed: int = 0, run_id: str | None = None, **changes: Any) -> StoredRun:
        scores = [
            RecordedScore("PPL", value, "1", "down", 2, "PPL|v:1"),
            RecordedScore("AU", 3.0, "1", "up", 2, "AU|v:1"),
        ]
        content = {
            "metrics": scores,
            "spec": {**make_record().spec, "seed": seed},
            "run_id": run_id or f"{seed:012x}",
            "created": f"20{26 if which == 'old' else 27}-01-01T00:00:00Z",
            "commit": which[0] * 40,
            **changes,
        }
        statistics = {"PPL": np.full((2, 1), value)}
        return RecordStore(tmp_path / which).write(
            make_record(**content), statistics, [{"text": which}], [{"loss": value}]
        )

    return write


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def update(tmp_path: Path, keep_missing: bool = False) -> Update:
    old, new = load_runs([tmp_path / "old"]), load_runs([tmp_path / "new"])
    plan = Update.plan(old, new, keep_missing)
    plan.carry_out(tmp_path / "old", REASON)
    return plan


@pytest.mark.parametrize("run_id", ["0" * 12, "e" * 12], ids=["same id", "other id"])
def test_the_new_run_takes_the_place_of_the_old_and_says_why(
    tmp_path: Path, write: Callable[..., StoredRun], run_id: str
) -> None:
    old, new = write("old", 20.0), write("new", 21.0, run_id=run_id)
    assert str(update(tmp_path)) == "records: 1 replaced, 0 added, 0 unchanged, 0 kept without a successor"
    (run,) = load_runs([tmp_path / "old"])
    assert run.path.parent == tmp_path / "old" / new.path.parent.name
    assert [path.name for path in (tmp_path / "old").iterdir()] == [new.path.parent.name]
    (revision,) = run.record.history
    assert (revision.reason, revision.run_id, revision.created) == (REASON, old.record.run_id, old.record.created)
    assert (revision.commit, revision.suite_version) == (old.record.commit, old.record.suite_version)
    assert revision.moved == {"PPL": (20.0, 21.0)}
    assert run.record.model_copy(update={"history": ()}) == new.record
    assert run.statistics()["PPL"].tolist() == [[21.0], [21.0]]
    files = content(new.path.parent)
    del files["record.json"]
    assert {name: data for name, data in content(run.path.parent).items() if name != "record.json"} == files


def test_the_folder_of_a_run_may_be_the_set_and_keeps_its_name(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    for which, value in (("old", 20.0), ("new", 21.0)):
        write(which, value).path.parent.rename(tmp_path / f"my {which} run")
    old, new = (load_runs([tmp_path / f"my {which} run"]) for which in ("old", "new"))
    Update.plan(old, new).carry_out(tmp_path / "my old run", REASON)
    (run,) = load_runs([tmp_path / "my old run"])
    assert (run.record.metrics[0].value, len(run.record.history)) == (21.0, 1)


def test_the_history_grows(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    write("old", 20.0)
    for number, value in enumerate((21.0, 22.0)):
        write("new", value, created=f"2027-01-0{number + 1}T00:00:00Z", metrics=[])
        update(tmp_path)
    (run,) = load_runs([tmp_path / "old"])
    assert [revision.moved for revision in run.record.history] == [{"PPL": (20.0, None), "AU": (3.0, None)}, {}]


def test_what_was_replaced_is_afterwards_a_copy_and_replaced_no_more(
    tmp_path: Path, write: Callable[..., StoredRun]
) -> None:
    write("old", 20.0)
    write("new", 21.0)
    update(tmp_path)
    before = content(tmp_path / "old")
    assert (update(tmp_path).unchanged, content(tmp_path / "old")) == (1, before)
    obstacles = {
        c.obstacle for c in compare_runs(*(load_runs([tmp_path / name]) for name in ("old", "new"))).comparisons
    }
    assert obstacles == {"same", None}


def test_runs_that_the_old_set_lacks_are_added(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    for which, seeds in (("old", (0,)), ("new", (0, 1))):
        for seed in seeds:
            write(which, 20.0, seed)
    assert len(update(tmp_path).added) == 1
    assert [run.record.seed for run in load_runs([tmp_path / "old"])] == [0, 1]


@pytest.mark.parametrize("status", [None, "diverged", "skipped"])
def test_an_old_run_without_a_finished_successor_is_kept_only_if_allowed(
    tmp_path: Path, write: Callable[..., StoredRun], status: str | None
) -> None:
    for which, seeds in (("old", (0, 1)), ("new", (0,))):
        for seed in seeds:
            write(which, 20.0, seed)
    if status:
        write("new", 20.0, 1, status=status, reason="why")
    before = content(tmp_path / "old")
    with pytest.raises(
        BenchError, match=r"nothing replaced: .*no finished ptb della smoke seed 1; --allow missing keeps"
    ):
        update(tmp_path)
    assert content(tmp_path / "old") == before
    plan = update(tmp_path, keep_missing=True)
    assert [run.record.seed for run in plan.kept] == [1]
    first, second = load_runs([tmp_path / "old"])
    assert (len(first.record.history), second.record.history, second.record.status) == (1, (), "finished")


def test_a_skipped_run_may_replace_a_skipped_run(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    for which in ("old", "new"):
        write(which, 20.0, status="skipped", reason=which, metrics=[])
    assert len(update(tmp_path).replaced) == 1


def test_a_model_is_kept_only_where_there_was_one(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    """Weights of the old run beside the record of the new one would be the wrong ones."""
    runs = [write(which, 20.0, seed) for which in ("old", "new") for seed in (0, 1)]
    for run, name in zip(runs, ("a", None, "b", "c"), strict=True):
        if name:
            run.path.with_name("model.safetensors").write_text(name)
    runs[0].path.with_name("notes.txt").write_text("of the old run")
    update(tmp_path)
    first, second = load_runs([tmp_path / "old"])
    assert first.path.with_name("model.safetensors").read_text() == "b"
    assert not first.path.with_name("notes.txt").exists()
    assert not second.path.with_name("model.safetensors").exists()


@pytest.mark.parametrize("reason", ["", " \n"])
def test_a_reason_is_needed(tmp_path: Path, write: Callable[..., StoredRun], reason: str) -> None:
    old, new = write("old", 20.0), write("new", 21.0)
    with pytest.raises(BenchError, match=r"--reason: say why"):
        Update.plan([old], [new]).carry_out(tmp_path / "old", reason)
    assert load_runs([tmp_path / "old"]) == [old]


def test_only_a_record_in_a_folder_of_its_own_is_replaced(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    old, new = write("old", 20.0), write("new", 21.0)
    single = tmp_path / "single.json"
    shutil.copy(old.path, single)
    with pytest.raises(BenchError, match=r"single\.json: only a record\.json"):
        Update.plan(load_runs([single]), [new])


def test_a_damaged_file_of_the_new_run_replaces_nothing(tmp_path: Path, write: Callable[..., StoredRun]) -> None:
    write("old", 20.0)
    write("new", 21.0).path.with_name("curve.jsonl").write_text("{}")
    before = content(tmp_path / "old")
    with pytest.raises(BenchError, match=r"curve\.jsonl: damaged"):
        update(tmp_path)
    assert content(tmp_path / "old") == before


STEPS = ("copyfile", "fsync", "rename 1", "rename 2")


@pytest.mark.parametrize("run_id", ["0" * 12, "e" * 12], ids=["same id", "other id"])
@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_the_old_run_whole(
    tmp_path: Path, write: Callable[..., StoredRun], monkeypatch: pytest.MonkeyPatch, step: str, run_id: str
) -> None:
    write("old", 20.0)
    write("new", 21.0, run_id=run_id)
    before = content(tmp_path / "old")
    renames = iter(range(10))
    rename = Path.rename

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fail_later(path: Path, target: Path) -> Path:
        if f"rename {next(renames) + 1}" == step:
            fail()
        return rename(path, target)

    with monkeypatch.context() as patch:
        if step.startswith("rename"):
            patch.setattr(Path, "rename", fail_later)
        else:
            patch.setattr(shutil if step == "copyfile" else os, step, fail)
        with pytest.raises(BenchError, match=r"cannot write .*: No space left on device"):
            update(tmp_path)
    assert content(tmp_path / "old") == before
    assert len(update(tmp_path).replaced) == 1


class Killed(BaseException):
    """Stands for a kill: nothing catches it, and nothing is cleaned up."""


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("run_id", ["0" * 12, "e" * 12], ids=["same id", "other id"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_run_whole(
    tmp_path: Path, write: Callable[..., StoredRun], monkeypatch: pytest.MonkeyPatch, step: int, run_id: str
) -> None:
    """Between the two steps that put the new run in place and hide the old one, readers find both and say so."""
    write("old", 20.0)
    new = write("new", 21.0, run_id=run_id)
    renames = iter(range(10))
    rename = Path.rename

    def kill(path: Path, target: Path) -> Path:
        number = next(renames)
        if step == 2 * number:
            raise Killed
        done = rename(path, target)
        if step == 2 * number + 1:
            raise Killed
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", kill)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            update(tmp_path)
    runs = load_runs([tmp_path / "old"])
    values = {run.record.metrics[0].value: run for run in runs}
    assert values.keys() == ({20.0} if step < 3 else {20.0, 21.0})
    for value, run in values.items():
        assert run.statistics()["PPL"].tolist() == [[value], [value]]
        assert content(run.path.parent).keys() == content(new.path.parent).keys()
    if len(runs) == 2:
        with pytest.raises(BenchError, match="keep one of them"):
            compare_runs(runs, [new])
    else:
        assert len(update(tmp_path).replaced) == 1
        assert [run.record.metrics[0].value for run in load_runs([tmp_path / "old"])] == [21.0]

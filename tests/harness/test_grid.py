"""Many runs: in order, side by side with the same results, and none able to end the others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.harness import grid
from bench.harness.grid import Outcome, default_jobs, run_grid
from bench.harness.preflight import check_folder, check_inputs
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]

# A tokenizer from a folder, and no folder: found out when the run begins.
UNBUILDABLE: dict[str, Any] = {"tokenizer": {"kind": "folder"}}


def test_outcomes_are_in_the_order_of_the_specs_and_reported_as_they_come(micro: MakeSpec, tmp_path: Path) -> None:
    specs = [micro("lm"), micro("embed"), micro("lm", seed=1)]
    progress: list[tuple[int, float]] = []
    ended: list[int] = []
    outcomes = run_grid(
        specs,
        tmp_path,
        on_progress=lambda *event: progress.append(event),
        on_end=lambda number, outcome: ended.append(number),
    )
    assert [outcome.spec for outcome in outcomes] == specs
    assert [outcome.record.label for outcome in outcomes if outcome.record] == ["lm", "embed", "lm"]
    assert ended == [0, 1, 2]
    assert progress == sorted(progress)  # run after run, and never backwards
    assert {number for number, _ in progress} == {0, 1, 2}
    assert 0 < progress[0][1] <= progress[-1][1] <= 1.0


def test_a_failing_run_does_not_stop_the_others(
    micro: MakeSpec, tmp_path: Path, odd_systems: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of the user's, and one in a system's own code, whose author needs the traceback."""
    outcomes = run_grid([micro("lm", **UNBUILDABLE), micro("raising"), micro("lm")], tmp_path)
    assert [outcome.record is not None for outcome in outcomes] == [False, False, True]
    assert outcomes[0].error == "tokenizer.kind is 'folder' but tokenizer.path is not set."
    assert outcomes[1].error == "RuntimeError: shapes (3, 4) and (5, 6) do not fit"
    (logged,) = caplog.records
    assert logged.getMessage() == "snli raising seed 0 failed"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is RuntimeError


def test_runs_side_by_side_give_what_runs_in_turn_give(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many threads to a run: sums in float32 depend on how they are cut."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    specs = [micro("lm"), micro("lm", **UNBUILDABLE), micro("della")]
    progress: list[tuple[int, float]] = []
    in_turn = run_grid(specs, tmp_path / "in turn")
    side_by_side = run_grid(specs, tmp_path / "side by side", jobs=2, on_progress=lambda *event: progress.append(event))
    assert [outcome.spec for outcome in side_by_side] == specs
    assert [outcome.error for outcome in side_by_side] == [outcome.error for outcome in in_turn]
    assert in_turn[1].error is not None
    for one, other in zip(in_turn[::2], side_by_side[::2], strict=True):
        assert one.record is not None
        assert other.record is not None
        assert one.record.environment.threads == other.record.environment.threads == 1
        assert one.record.measurement() == other.record.measurement()
    assert {number for number, _ in progress} == {0, 2}
    assert max(fraction for _, fraction in progress) <= 1.0


def test_an_interrupt_keeps_what_is_recorded_and_the_same_grid_goes_on(micro: MakeSpec, tmp_path: Path) -> None:
    specs = [micro("lm"), micro("embed"), micro("softmax")]

    def interrupt(number: int, fraction: float) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(specs, tmp_path, on_progress=interrupt)
    (first,) = tmp_path.glob("*/record.json")
    written = first.stat().st_mtime_ns
    assert all(outcome.record for outcome in run_grid(specs, tmp_path))
    assert first.stat().st_mtime_ns == written
    assert len(list(tmp_path.glob("*/record.json"))) == 3


@pytest.mark.parametrize(
    ("cores", "runs", "gpu", "jobs"),
    [(2, 24, False, 2), (64, 24, False, 4), (64, 3, False, 3), (None, 5, False, 1), (8, 0, False, 1), (8, 24, True, 1)],
)
def test_as_many_runs_side_by_side_as_cores_up_to_four(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, runs: int, gpu: bool, jobs: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert default_jobs(runs) == jobs


def test_files_are_read_once_a_task_before_anything_runs(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_files(spec: RunSpec) -> RunSpec:
        return spec.model_copy(update={"task": spec.task.model_copy(update={"source": "files"})})

    read: list[str] = []
    monkeypatch.setattr(grid, "load_texts", lambda task, folder: read.append(task.name))
    specs = [micro(label, task) for task in ("snli", "ptb") for label in ("lm", "embed")]
    check_inputs(specs, tmp_path)
    assert read == []  # a grammar is no file
    check_inputs(list(map(from_files, specs)), tmp_path)
    assert sorted(read) == ["ptb", "snli"]


def test_bad_files_are_found_before_anything_runs(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("lm")
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"source": "files"})})
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_bytes(b"fine\n\xff\n" if split == "valid" else b"fine\n")
    with pytest.raises(BenchError, match=r"valid\.txt, line 2: not UTF-8"):
        check_inputs([spec], tmp_path)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("snli", {"backbone": {"width": 15}}, "backbone.width is 15, no multiple of backbone.heads, 2."),
        ("snli", {"backbone": {"source": "hub"}}, "backbone.source is 'hub' but backbone.name is not set."),
        ("quora", {"backbone": {"source": "folder", "path": "/none"}}, "no model in /none: expected config.json and "),
        ("snli", {"tokenizer": {"kind": "folder"}}, "tokenizer.kind is 'folder' but tokenizer.path is not set."),
        ("snli", {"tokenizer": {"kind": "folder", "path": "/none"}}, "no tokenizer in /none: expected tokenizer.json"),
        (
            "writingprompts",
            {"max_source_tokens": 158},
            "the backbone's 160 positions leave no room for a text behind sources of up to ",
        ),
    ],
)
def test_what_cannot_be_built_is_found_before_anything_runs(
    micro: MakeSpec, task: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}") as error:
        check_inputs([micro("lm"), micro("lm", task, **changes)], None)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        with pytest.raises(BenchError, match=f"cannot write to {folder}: "):
            check_folder(folder)
    check_folder(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_an_outcome_has_a_record_or_an_error(micro: MakeSpec) -> None:
    assert Outcome(micro("lm"), error="no").record is None

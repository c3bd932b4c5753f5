"""Many runs: in order, side by side with the same results, and none able to end the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.harness.grid import Outcome, default_jobs, run_grid
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


HUNGRY = '''"""A system whose process the kernel kills for memory."""

import os
import signal

from baselines.language_model import LanguageModel


class Hungry(LanguageModel):
    """A language model until it encodes."""

    def encode(self, batch):
        """Ends."""
        os.kill(os.getpid(), signal.{signal})
'''


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SIGKILL", "its process was killed (signal 9), perhaps because the machine was out of memory"),
        ("SIGTERM", "its process died (signal 15)"),
    ],
)
def test_a_killed_process_costs_its_own_run_only(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """Runs that were beside it, and runs that had not begun, are recorded."""
    info = tmp_path / "site" / "hungry-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hungry\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[della_bench.systems]\nhungry = hungry:Hungry\n")
    (info.parent / "hungry.py").write_text(HUNGRY.format(signal=name))
    monkeypatch.syspath_prepend(info.parent)
    labels = ["hungry", "lm", "embed", "softmax"]
    ended: list[int] = []
    outcomes = run_grid(
        [micro(label, training={"epochs": 1}) for label in labels],
        tmp_path / "out",
        jobs=2,
        on_end=lambda number, outcome: ended.append(number),
    )
    assert [outcome.error for outcome in outcomes] == [message, None, None, None]
    assert [outcome.record and outcome.record.label for outcome in outcomes] == [None, *labels[1:]]
    assert sorted(ended) == [0, 1, 2, 3]


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


def test_an_outcome_has_a_record_or_an_error(micro: MakeSpec) -> None:
    assert Outcome(micro("lm"), error="no").record is None

"""Many runs: in order, side by side with the same results, and none able to end the others."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.harness import grid
from bench.harness.grid import Outcome, default_jobs, run_grid
from bench.harness.lock import Lock, LostLockError, acquire
from bench.harness.processes import Worker
from bench.harness.recording import Recording, record_failure
from bench.harness.run import run
from bench.harness.stopping import Stopped
from bench.interface import System
from bench.records.schema import Record, Status
from bench.records.store import CHECKPOINT, RecordStore, load_runs
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]

MODEL = {"model", "checkpoint", "checkpoint.previous"}

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
    assert [outcome.record and outcome.record.status for outcome in outcomes] == [None, "failed", "finished"]
    assert outcomes[0].error == "tokenizer.kind is 'folder' but tokenizer.path is not set."
    assert outcomes[1].error == "RuntimeError: shapes (3, 4) and (5, 6) do not fit"
    (logged,) = caplog.records
    assert logged.getMessage() == "snli raising seed 0 failed"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is RuntimeError


def test_runs_side_by_side_give_what_runs_in_turn_give(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many threads to a run: sums in float32 depend on how they are cut.

    The folder for temporary files has a name that is too long for a socket.
    """
    long = tmp_path / ("temporary" * 20)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
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
        ("SIGTERM", "its process was stopped (signal 15)"),
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
    assert [outcome.record.label for outcome in outcomes if outcome.record] == labels
    failed = outcomes[0].record
    assert failed is not None
    assert (failed.status, failed.reason) == ("failed", message)
    assert not list((tmp_path / "out").glob(".*"))
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


def test_workers_save_what_they_trained_before_a_stop(micro: MakeSpec, tmp_path: Path) -> None:
    """In one long epoch, where nothing else writes a checkpoint."""
    training = {"epochs": 1, "batch_tokens": 16, "checkpoint_seconds": 1e6}
    specs = [micro(label, training=training, limits={"train": 400}) for label in ("lm", "embed")]
    began: set[int] = set()

    def stop_when_both_train(number: int, fraction: float) -> None:
        began.add(number)
        if len(began) == 2:
            raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        run_grid(specs, tmp_path / "stopped", jobs=2, on_progress=stop_when_both_train)
    assert len(list(tmp_path.glob(f"stopped/*/{CHECKPOINT}"))) == 2
    assert not multiprocessing.active_children()
    stopped = run_grid(specs, tmp_path / "stopped")
    undisturbed = run_grid(specs, tmp_path / "undisturbed")
    for one, other in zip(stopped, undisturbed, strict=True):
        assert one.record is not None
        assert other.record is not None
        assert one.record.measurement() == other.record.measurement()


@pytest.mark.parametrize(
    ("cores", "runs", "gpus", "jobs"),
    [(2, 24, 0, 2), (64, 24, 0, 4), (64, 3, 0, 3), (None, 5, 0, 1), (8, 0, 0, 1), (8, 24, 1, 1), (8, 24, 8, 8)],
)
def test_as_many_runs_side_by_side_as_gpus_or_cores_up_to_four(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, runs: int, gpus: int, jobs: int
) -> None:
    monkeypatch.delenv(grid.GPUS, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert default_jobs(runs) == jobs


def tell_gpu(connection: Connection) -> None:
    connection.send(os.environ[grid.GPUS])
    connection.recv()


def test_each_worker_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that the user left to the command; one that takes the place of another takes its GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(grid.GPUS, "3, 5")
    workers: list[Worker] = []
    for _ in range(3):
        workers.append(Worker(tell_gpu, grid._free_gpu(workers)))
    assert [worker.connection.recv() for worker in workers] == ["3", "5", "3"]
    workers.pop(1).close()
    assert grid._free_gpu(workers) == {grid.GPUS: "5"}
    for worker in workers:
        worker.close()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert grid._free_gpu([]) == {}


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[RunSpec], Lock]:
    """Locks a run as another process would."""
    monkeypatch.setattr(grid, "POLL", 0.01)

    def lock(spec: RunSpec) -> Lock:
        recording = Recording.begin(spec, tmp_path)
        return acquire(recording.lock, recording.folder.name)

    return lock


@pytest.mark.parametrize(("reuse", "retry"), [(None, ()), (False, ()), (None, ("finished",))])
def test_a_run_that_another_process_records_meanwhile_is_not_repeated(
    micro: MakeSpec, tmp_path: Path, lock: Callable[[RunSpec], Lock], reuse: bool | None, retry: Sequence[Status]
) -> None:
    """Whatever was asked about old records."""
    specs = [micro("lm"), micro("embed")]
    elsewhere = lock(specs[0])
    elsewhere.report("score", 0.5)
    written: list[Record] = []
    ended: list[int] = []

    def finish_elsewhere(owners: Sequence[str]) -> None:
        if owners and not written:
            assert ended == [1]
            assert owners == [str(elsewhere.owner)]
            elsewhere.release()
            written.append(run(specs[0], tmp_path))

    outcomes = run_grid(
        specs,
        tmp_path,
        on_end=lambda number, outcome: ended.append(number),
        reuse=reuse,
        retry=retry,
        on_wait=finish_elsewhere,
    )
    assert outcomes[0].record == written[0]
    assert ended == [1, 0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_another_process_gave_up_is_done_here(
    micro: MakeSpec, tmp_path: Path, lock: Callable[[RunSpec], Lock], jobs: int
) -> None:
    """And what the other process tells of its progress is shown as long as it works."""
    specs = [micro("lm"), micro("lm", seed=1)]
    elsewhere = lock(specs[0])
    elsewhere.report("score", 0.5)
    elsewhere.write()
    progress: list[tuple[int, float]] = []
    outcomes = run_grid(
        specs,
        tmp_path,
        jobs=jobs,
        on_progress=lambda *event: progress.append(event),
        on_wait=lambda owners: elsewhere.release() if owners else None,
    )
    assert [outcome.record and outcome.record.status for outcome in outcomes] == ["finished", "finished"]
    assert (0, 0.85) in progress
    assert progress.index((0, 0.85)) < len(progress) - 1


@pytest.mark.parametrize(("phase", "written"), [("train", set()), ("score", MODEL)])
def test_a_run_that_lost_its_lock_writes_nothing_more(
    micro: MakeSpec, tmp_path: Path, phase: str, written: set[str]
) -> None:
    taken: list[Lock] = []

    def take_over(now: str, fraction: float) -> None:
        if now == phase and not taken:
            (path,) = tmp_path.glob(".*.lock")
            path.unlink()
            taken.append(acquire(path, "a run"))

    with pytest.raises(LostLockError, match=r"lost its lock, since process .* took it over; the run ends here"):
        run(micro("lm"), tmp_path, on_phase=take_over)
    assert {path.stem for path in tmp_path.glob("*/*.safetensors")} == written
    assert not list(tmp_path.glob("*/record.json"))
    assert taken[0].is_held()
    taken[0].release()


def test_rows_that_share_weights_are_trained_once_side_by_side(micro: MakeSpec, tmp_path: Path) -> None:
    """The second finds the weights locked by the first, and scores them when it is done."""
    other = {"scoring": {"n_importance_samples": 3}}
    outcomes = run_grid([micro("lm"), micro("lm", **other)], tmp_path, jobs=2)
    first, second = (outcome.record for outcome in outcomes)
    assert first is not None
    assert second is not None
    assert first.run_id != second.run_id
    assert first.model == second.model
    assert [timing for timing in first.timings if timing.phase == "train"] == [
        timing for timing in second.timings if timing.phase == "train"
    ]


def test_a_failure_is_recorded_and_repeated_only_if_asked(
    micro: MakeSpec, tmp_path: Path, odd_systems: None, caplog: pytest.LogCaptureFixture
) -> None:
    (failed,) = run_grid([micro("raising")], tmp_path)
    error = "RuntimeError: shapes (3, 4) and (5, 6) do not fit"
    assert failed.error == error
    assert failed.record is not None
    assert (failed.record.status, failed.record.reason) == ("failed", error)
    assert failed.record.training_id is not None
    (stored,) = load_runs([tmp_path])
    assert stored.record == failed.record
    trace = stored.path.with_name("failure.txt").read_text()
    assert trace.startswith("Traceback")
    assert "odd_systems.py" in trace
    (kept,) = run_grid([micro("raising")], tmp_path)
    assert kept.record == failed.record
    assert kept.error == f"{error}; --retry failed runs it again"
    (again,) = run_grid([micro("raising")], tmp_path, retry=("failed",))
    assert again.record is not None
    assert again.record.created > failed.record.created
    assert len(caplog.records) == 2


def test_a_failure_of_other_code_is_tried_again(micro: MakeSpec, tmp_path: Path, odd_systems: None) -> None:
    (failed,) = run_grid([micro("raising")], tmp_path)
    assert failed.record is not None
    RecordStore(tmp_path).write(failed.record.model_copy(update={"code": {"bench.seeds": "0" * 12}}))
    (again,) = run_grid([micro("raising")], tmp_path)
    assert again.record is not None
    assert again.record.created > failed.record.created


def test_a_failure_leaves_a_finished_record(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = micro("lm")
    record = run(spec, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(System, "eval", None)  # calling it is a TypeError
        (failed,) = run_grid([spec], tmp_path, reuse=False)
    assert failed.record is None
    assert failed.error is not None
    assert failed.error.startswith("TypeError")
    assert run(spec, tmp_path) == record


def test_a_success_removes_the_traceback(micro: MakeSpec, tmp_path: Path, odd_systems: None) -> None:
    spec = micro("lm")
    failed = record_failure(spec, tmp_path, None, "its process died")
    assert failed is not None
    (trace,) = tmp_path.glob("*/failure.txt")
    assert trace.read_text() == "its process died\n"
    record = run(spec, tmp_path, retry=("failed",))
    assert (record.status, record.run_id) == ("finished", failed.run_id)
    assert not trace.exists()


def test_what_killed_processes_left_of_recorded_runs_is_swept(micro: MakeSpec, tmp_path: Path) -> None:
    specs = [micro("lm"), micro("lm", seed=1)]
    run(specs[0], tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    files = sorted(folder.iterdir())
    (folder / "checkpoint.safetensors").write_bytes(b"")
    (folder / f".record.json.{2**22}@{platform.node()}.01234567.tmp").write_bytes(b"")
    run_grid(specs[:1], tmp_path)
    assert sorted(folder.iterdir()) == files
    assert list(tmp_path.iterdir()) == [folder]


def test_an_outcome_has_a_record_or_an_error(micro: MakeSpec) -> None:
    assert Outcome(micro("lm"), error="no").record is None

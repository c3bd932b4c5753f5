"""A grid of runs on one machine, in parallel processes; a run that fails does not stop the others."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from bench.errors import BenchError, error_line
from bench.harness.lock import FoundLock, LockedError, LostLockError, remove_stale
from bench.harness.log import Sender, log_received
from bench.harness.phases import PHASES, OnPhase, progress_of_phases
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.processes import Worker, stop
from bench.harness.recording import Recording, record_failure
from bench.harness.reuse import complete
from bench.harness.run import run
from bench.harness.status import PlannedRun, remove_done_plans, write_plan
from bench.harness.stopping import Stopped
from bench.records.schema import Record, Status
from bench.specs import RunSpec

logger = logging.getLogger(__name__)


OnProgress = Callable[[int, float], None]
"""Takes the number of a run and the fraction of the run that is done."""
OnEnd = Callable[[int, "Outcome"], None]
"""Takes the number of a run and its outcome."""


OnWait = Callable[[Sequence[str]], None]
"""Takes the owners of the runs that are waited for, because other processes work on them."""

POLL = 1.0
"""Seconds between two looks at the locks of runs that other processes work on."""


@dataclass(frozen=True)
class Outcome:
    """The record of a run, or the error that ended it; of a run that failed in its own code both.

    Attributes:
        spec: of the run.
        record: None if there is none.
        error: None if the run did not fail.
        lock: of a run that another process works on; then there is no outcome yet.
        log: the file that holds the traceback; None for the log of the grid.
    """

    spec: RunSpec
    record: Record | None = None
    error: str | None = None
    lock: Path | None = None
    log: Path | None = None

    @classmethod
    def of(cls, spec: RunSpec, record: Record) -> Outcome:
        """Returns the outcome of a run with a record, which may be one of an earlier failure."""
        failed = record.status == "failed"
        return cls(spec, record, f"{record.reason}; --retry failed runs it again" if failed else None)


GPUS = "CUDA_VISIBLE_DEVICES"
"""Environment variable that says which GPUs a process sees."""


def default_jobs(n_runs: int) -> int:
    """Returns the default number of parallel runs: one per GPU, or one per core, at most four, without any."""
    return max(1, min(len(_gpus()) or min(os.cpu_count() or 1, 4), n_runs))


def _gpus() -> list[str]:
    """Returns the GPUs of this process, as ``GPUS`` names them."""
    named = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    return named or [str(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


def _free_gpu(workers: Iterable[Worker]) -> dict[str, str]:
    """Returns the environment of one more worker: it sees the GPU that the fewest workers see."""
    seen = Counter(worker.environment.get(GPUS) for worker in workers)
    return {GPUS: min(gpus, key=lambda gpu: seen[gpu])} if (gpus := _gpus()) else {}


def run_grid(
    specs: Sequence[RunSpec],
    out: Path,
    data_folder: Path | None = None,
    jobs: int = 1,
    on_progress: OnProgress = lambda number, fraction: None,
    on_end: OnEnd = lambda number, outcome: None,
    reuse: bool | None = None,
    processes: ProcessGroup = ALONE,
    retry: Collection[Status] = (),
    on_wait: OnWait = lambda owners: None,
) -> list[Outcome]:
    """Runs all specs, ``jobs`` at a time, and returns their outcomes in the same order.

    What is recorded already costs no process. A run that another process works on, perhaps on another machine, is put
    off to the end, when its record is used; if that process dies, the run is done here from its checkpoint.

    A run that fails does not stop the others; the traceback is logged unless the error is a ``BenchError``. Start and
    end of each run are logged too. A signal stops all runs (see `bench.harness.stopping`); finished runs are recorded,
    the others resume from their checkpoints next time.

    Args:
        specs: the runs.
        out: folder of the records.
        data_folder: parent of the folders of tasks; needed when the source of a spec is ``files``.
        jobs: how many runs are done at a time; more than one are done in processes of their own, on one GPU each.
        on_progress: receives the progress of each run.
        on_end: receives each outcome.
        reuse: see ``run``. A record that another process makes meanwhile is used in any case, as with ``retry``.
        processes: that do one run at a time together; this one leads.
        retry: see ``run``.
        on_wait: receives the owners of the runs that are waited for, whenever they change.
    """
    outcomes: dict[int, Outcome] = {}

    def end(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        _log_end(outcome)
        on_end(number, outcome)

    started = datetime.now(UTC)
    remove_stale(out)
    recordings = [_recording(spec, out, data_folder) for spec in specs]
    if reuse is not False:
        for number, (spec, recording) in enumerate(zip(specs, recordings, strict=True)):
            if recording and (outcome := _recorded(spec, recording, bool(reuse), retry)) is not None:
                end(number, outcome)
    if len(outcomes) == len(specs):
        return [outcomes[number] for number in range(len(specs))]
    write_plan([_planned(*pair) for pair in zip(specs, recordings, strict=True)], out)
    queue = _Queue([number for number in range(len(specs)) if number not in outcomes], on_progress)

    def meanwhile(number: int) -> Outcome | None:
        """Returns the outcome of a run that was put off, if another process has recorded it since the start."""
        recording = recordings[number]
        if number not in queue.put_off or recording is None:
            return None
        outcome = _recorded(specs[number], recording, bool(reuse), ())
        return outcome if outcome and outcome.record and outcome.record.created >= started else None

    attempt = partial(_attempt, out=out, data_folder=data_folder, reuse=reuse, retry=retry)
    if processes.size > 1:
        jobs, attempt = 1, partial(attempt, processes=processes)
    try:
        if jobs == 1:
            _run_in_turn(specs, attempt, meanwhile, queue, on_progress, end, on_wait)
        else:
            fail = partial(_fail, out=out, data_folder=data_folder)
            _run_parallel(specs, attempt, meanwhile, queue, jobs, on_progress, end, on_wait, fail)
    finally:
        remove_stale(out)  # of workers that were killed
    with suppress(BenchError):  # a damaged plan is told by who reads it
        remove_done_plans(out)
    return [outcomes[number] for number in range(len(specs))]


class _Queue:
    """The numbers of the runs to do: first those that nobody works on, then those that others have left.

    Args:
        numbers: of the runs.
        on_progress: receives the progress of the runs that others work on.

    Attributes:
        owners: of the runs that others work on, as of the last look.
    """

    def __init__(self, numbers: Iterable[int], on_progress: OnProgress) -> None:
        self.ready = deque(numbers)
        self.locked: dict[int, Path] = {}
        self.put_off: set[int] = set()
        self.on_progress = on_progress
        self.owners: list[str] = []
        self._looked = -POLL

    def __bool__(self) -> bool:
        return bool(self.ready or self.locked)

    def next(self) -> int | None:
        """Returns the number of a run that can be tried now, None if there is none."""
        if not self.ready and self.locked and time.monotonic() - self._looked >= POLL:
            self._look()
            self._looked = time.monotonic()
        return self.ready.popleft() if self.ready else None

    def put_off_until_free(self, number: int, lock: Path) -> None:
        """Takes back a run that another process has locked."""
        self.put_off.add(number)
        self.locked[number] = lock

    def _look(self) -> None:
        """Makes the runs ready whose locks are free or stale; one whose lock cannot be read fails when it is tried."""
        owners: dict[str, None] = {}
        for number, path in list(self.locked.items()):
            found = None
            with suppress(BenchError):
                found = FoundLock.read(path)
            if found is None or found.is_stale():
                del self.locked[number]
                self.ready.append(number)
            elif found.owner is not None:
                owners[str(found.owner)] = None
                if found.owner.phase in PHASES:
                    progress_of_phases(partial(self.on_progress, number))(found.owner.phase, found.owner.fraction)
        self.owners = list(owners)


def _recording(spec: RunSpec, out: Path, data_folder: Path | None) -> Recording | None:
    """Returns the run on its way, None for one that cannot be prepared, which fails when it is tried."""
    try:
        return Recording.begin(spec, out, data_folder)
    except Exception:  # noqa: BLE001  # a system may come from any package
        return None


def _recorded(spec: RunSpec, recording: Recording, any_code: bool, retry: Collection[Status]) -> Outcome | None:
    """Returns the outcome of a run without working on it, if that is possible, and sweeps what it left."""
    try:
        record = complete(recording, any_code, retry)
    except BenchError as error:
        return Outcome(spec, error=str(error))
    if record is None:
        return None
    if record.status != "failed":
        recording.sweep()
    return Outcome.of(spec, record)


def _planned(spec: RunSpec, recording: Recording | None) -> PlannedRun:
    folder = recording and recording.folder.name
    return PlannedRun(task=spec.task.name, label=spec.system.label, scale=spec.scale, seed=spec.seed, folder=folder)


def _run_in_turn(
    specs: Sequence[RunSpec],
    attempt: Callable[..., Outcome],
    meanwhile: Callable[[int], Outcome | None],
    queue: _Queue,
    on_progress: OnProgress,
    end: Callable[[int, Outcome], None],
    on_wait: OnWait,
) -> None:
    """Runs all specs of the queue in this process."""
    while queue:
        if (number := queue.next()) is None:
            on_wait(queue.owners)
            time.sleep(POLL)
            continue
        if (outcome := meanwhile(number)) is not None:
            end(number, outcome)
            continue
        if number not in queue.put_off:
            _log_start(specs[number])
        on_phase = progress_of_phases(partial(on_progress, number))
        outcome = attempt(specs[number], on_phase=on_phase)
        if outcome.lock is not None:
            queue.put_off_until_free(number, outcome.lock)
        else:
            end(number, outcome)


def _run_parallel(
    specs: Sequence[RunSpec],
    attempt: Callable[..., Outcome],
    meanwhile: Callable[[int], Outcome | None],
    queue: _Queue,
    jobs: int,
    on_progress: OnProgress,
    end: Callable[[int, Outcome], None],
    on_wait: OnWait,
    fail: Callable[[RunSpec, str], Outcome],
) -> None:
    """Runs all specs of the queue in ``jobs`` processes. One that dies fails its own run, and another replaces it."""
    busy: dict[Connection, tuple[Worker, int]] = {}
    idle: list[Worker] = []
    serve = partial(_serve, attempt=attempt, threads=max(1, (os.cpu_count() or 1) // jobs))
    try:
        while busy or queue:
            while len(busy) < jobs and (number := queue.next()) is not None:
                if (outcome := meanwhile(number)) is not None:
                    end(number, outcome)
                    continue
                worker = idle.pop() if idle else Worker(serve, _free_gpu(worker for worker, _ in busy.values()))
                busy[worker.connection] = worker, number
                if number not in queue.put_off:
                    _log_start(specs[number])
                with suppress(OSError):  # it died while it was idle, as its connection tells below
                    worker.connection.send(specs[number])
            while idle and not queue:
                idle.pop().close()
            if not busy and queue:
                on_wait(queue.owners)
            for connection in wait(list(busy), POLL if queue.locked or not busy else None):
                worker, number = busy[connection]  # type: ignore[index]  # only connections are waited for
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):  # the latter if it died while it sent
                    del busy[worker.connection]
                    end(number, fail(specs[number], worker.cause_of_death()))
                    continue
                if isinstance(message, float):
                    on_progress(number, message)
                elif isinstance(message, logging.LogRecord):
                    log_received(message)
                else:
                    del busy[worker.connection]
                    idle.append(worker)
                    if message.lock is not None:
                        queue.put_off_until_free(number, message.lock)
                    else:
                        end(number, message)
        while idle:
            idle.pop().close()
    except (Stopped, KeyboardInterrupt):
        stop(worker for worker, _ in busy.values())
        raise
    finally:
        for worker in [*(worker for worker, _ in busy.values()), *idle]:
            worker.kill()


def _serve(connection: Connection, attempt: Callable[..., Outcome], threads: int) -> None:
    """Runs each spec that comes from the connection; sends progress and log records, then the outcome."""
    torch.set_num_threads(threads)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(Sender(connection))
    while (spec := connection.recv()) is not None:
        connection.send(attempt(spec, on_phase=progress_of_phases(connection.send)))


def _log_start(spec: RunSpec) -> None:
    logger.info("%s: started", spec.title)


def _log_end(outcome: Outcome) -> None:
    if outcome.error is not None or outcome.record is None:
        logger.info("%s: failed: %s", outcome.spec.title, outcome.error)
    else:
        reason = f": {outcome.record.reason}" if outcome.record.reason else ""
        logger.info("%s: %s%s, record %s", outcome.spec.title, outcome.record.status, reason, outcome.record.run_id)


def _attempt(
    spec: RunSpec,
    *,
    out: Path,
    data_folder: Path | None,
    reuse: bool | None,
    retry: Collection[Status],
    on_phase: OnPhase,
    processes: ProcessGroup = ALONE,
) -> Outcome:
    try:
        record = run(spec, out, data_folder, on_phase, processes.device, reuse, processes, retry)
        return Outcome.of(spec, record)
    except LockedError as error:
        return Outcome(spec, lock=error.path)
    except LostLockError as error:
        logger.warning("%s: %s", spec.title, error)
        return Outcome(spec, lock=error.path)
    except BenchError as error:
        return Outcome(spec, error=str(error))
    except Exception as error:  # an error of one system must not end the runs of others
        logger.exception("%s failed", spec.title)
        recording = _recording(spec, out, data_folder)
        stored = recording.stored() if recording else None
        failed = stored.record if stored is not None and stored.record.status == "failed" else None
        return Outcome(spec, failed, error_line(error))


def _fail(spec: RunSpec, reason: str, *, out: Path, data_folder: Path | None) -> Outcome:
    """Records the failure of a run whose process died, and returns its outcome."""
    try:
        return Outcome(spec, record_failure(spec, out, data_folder, reason), reason)
    except Exception:  # noqa: BLE001  # a system may come from any package; the reason is told in any case
        return Outcome(spec, error=reason)

"""A grid of runs on one machine, in parallel processes; a run that fails does not stop the others."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from bench.errors import BenchError, error_line
from bench.harness.log import Sender, log_received
from bench.harness.phases import OnPhase, progress_of_phases
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.processes import Worker
from bench.harness.run import run
from bench.records.schema import Record
from bench.specs import RunSpec

logger = logging.getLogger(__name__)


OnProgress = Callable[[int, float], None]
"""Takes the number of a run and the fraction of the run that is done."""
OnEnd = Callable[[int, "Outcome"], None]
"""Takes the number of a run and its outcome."""


@dataclass(frozen=True)
class Outcome:
    """The record of a run, or the error that ended it."""

    spec: RunSpec
    record: Record | None = None
    error: str | None = None


def default_jobs(n_runs: int) -> int:
    """Returns the default number of parallel runs: one per core, at most four; one with a GPU."""
    return 1 if torch.cuda.is_available() else max(1, min(os.cpu_count() or 1, 4, n_runs))


def run_grid(
    specs: Sequence[RunSpec],
    out: Path,
    data_folder: Path | None = None,
    jobs: int = 1,
    on_progress: OnProgress = lambda number, fraction: None,
    on_end: OnEnd = lambda number, outcome: None,
    reuse: bool | None = None,
    processes: ProcessGroup = ALONE,
) -> list[Outcome]:
    """Runs all specs, ``jobs`` at a time, and returns their outcomes in the same order.

    A run that fails does not stop the others; the traceback is logged unless the error is a ``BenchError``. Start and
    end of each run are logged too. An interrupt stops all runs; finished runs are recorded, the others resume from
    their checkpoints next time.

    Several ``processes`` do one run at a time together; this one leads.
    """
    attempt = partial(_attempt, out=out, data_folder=data_folder, reuse=reuse)
    if processes.size > 1:
        jobs, attempt = 1, partial(attempt, processes=processes)
    if jobs == 1:
        outcomes = []
        for number, spec in enumerate(specs):
            _log_start(spec)
            outcomes.append(attempt(spec, on_phase=progress_of_phases(partial(on_progress, number))))
            _log_end(outcomes[-1])
            on_end(number, outcomes[-1])
        return outcomes
    return _run_parallel(specs, attempt, jobs, on_progress, on_end)


def _run_parallel(
    specs: Sequence[RunSpec], attempt: Callable[..., Outcome], jobs: int, on_progress: OnProgress, on_end: OnEnd
) -> list[Outcome]:
    """Runs all specs in ``jobs`` worker processes. A worker that dies fails its own run, and another replaces it."""
    outcomes: dict[int, Outcome] = {}
    waiting = deque(enumerate(specs))
    busy: dict[Connection, tuple[Worker, int]] = {}

    def end(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        _log_end(outcome)
        on_end(number, outcome)

    def start(worker: Worker) -> None:
        """Gives the worker its next run, or ends it."""
        if waiting:
            number, spec = waiting.popleft()
            busy[worker.connection] = worker, number
            _log_start(spec)
            worker.connection.send(spec)
        else:
            worker.close()

    serve = partial(_serve, attempt=attempt, threads=max(1, (os.cpu_count() or 1) // jobs))
    try:
        for _ in range(min(jobs, len(specs))):
            start(Worker(serve))
        while busy:
            for connection in wait(list(busy)):
                worker, number = busy[connection]  # type: ignore[index]  # only connections are waited for
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionError):
                    del busy[worker.connection]
                    end(number, Outcome(specs[number], error=worker.cause_of_death()))
                    if waiting:
                        start(Worker(serve))
                    continue
                if isinstance(message, float):
                    on_progress(number, message)
                elif isinstance(message, logging.LogRecord):
                    log_received(message)
                else:
                    del busy[worker.connection]
                    end(number, message)
                    start(worker)
    finally:
        for worker, _ in busy.values():
            worker.kill()
    return [outcomes[number] for number in range(len(specs))]


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
    if outcome.record is None:
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
    on_phase: OnPhase,
    processes: ProcessGroup = ALONE,
) -> Outcome:
    try:
        return Outcome(spec, run(spec, out, data_folder, on_phase, processes.device, reuse, processes))
    except BenchError as error:
        return Outcome(spec, error=str(error))
    except Exception as error:  # an error of one system must not end the runs of others
        logger.exception("%s failed", spec.title)
        return Outcome(spec, error=error_line(error))

"""A grid of runs on one machine, in parallel processes; a run that fails does not stop the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from bench.errors import BenchError
from bench.harness.phases import OnPhase, progress_of_phases
from bench.harness.processes import end_with_parent, without_interrupts
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
) -> list[Outcome]:
    """Runs all specs, ``jobs`` at a time, and returns their outcomes in the same order.

    A run that fails does not stop the others; the traceback is logged unless the error is a ``BenchError``. An
    interrupt stops all runs; finished runs are recorded, the others resume from their checkpoints next time.
    """
    if jobs == 1:
        outcomes = []
        for number, spec in enumerate(specs):
            outcomes.append(_attempt(spec, out, data_folder, progress_of_phases(partial(on_progress, number))))
            on_end(number, outcomes[-1])
        return outcomes
    context = multiprocessing.get_context("spawn")
    manager = SyncManager(ctx=context)
    with without_interrupts():
        manager.start(end_with_parent)
    with manager, _pool(jobs, context) as pool:
        queue = manager.Queue()
        with without_interrupts():
            futures = {
                pool.submit(_work, number, spec, out, data_folder, queue): number for number, spec in enumerate(specs)
            }
        return _collect(specs, futures, queue, on_progress, on_end)


def _collect(
    specs: Sequence[RunSpec],
    futures: dict[Future[Outcome], int],
    queue: Any,
    on_progress: OnProgress,
    on_end: OnEnd,
) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        while True:
            try:
                on_progress(*queue.get_nowait())
            except Empty:
                break
        for future in done:
            number = futures[future]
            failure = future.exception()
            outcomes[number] = future.result() if failure is None else Outcome(specs[number], error=repr(failure))
            on_end(number, outcomes[number])
    return [outcomes[number] for number in range(len(specs))]


@contextmanager
def _pool(jobs: int, context: Any) -> Iterator[ProcessPoolExecutor]:
    """Gives a pool of worker processes, and kills them at once when an exception or interrupt leaves the block."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(threads,))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)


def _work(number: int, spec: RunSpec, out: Path, data_folder: Path | None, queue: Any) -> Outcome:
    return _attempt(spec, out, data_folder, progress_of_phases(lambda fraction: queue.put((number, fraction))))


def _attempt(spec: RunSpec, out: Path, data_folder: Path | None, on_phase: OnPhase) -> Outcome:
    try:
        return Outcome(spec, run(spec, out, data_folder, on_phase))
    except BenchError as error:
        return Outcome(spec, error=str(error))
    except Exception as error:  # an error of one system must not end the runs of others
        logger.exception("%s failed", spec.title)
        return Outcome(spec, error=" ".join(f"{type(error).__name__}: {error}".split()))

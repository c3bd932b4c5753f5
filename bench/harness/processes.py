"""Worker processes: only the parent handles Ctrl-C, and no worker outlives it. Imports no torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from bench.harness.stopping import Stopped, heeding_signals

TIME_TO_SAVE = 25.0
"""Seconds that workers have to save their checkpoints after a signal; Slurm kills after 30."""


class Worker:
    """A process that serves one end of a connection.

    Args:
        serve: runs in the process with the worker's end, until it receives None. It is pickled.
        environment: variables that the process sets before.

    Attributes:
        connection: the parent's end.
        process: the process.
        environment: as given.
    """

    def __init__(self, serve: Callable[[Connection], None], environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(environment or {})
        context = multiprocessing.get_context("spawn")
        self.connection, child_end = context.Pipe()
        # A daemon, because Python waits for other processes at its end, also for one that an interrupt left running.
        self.process = context.Process(
            target=_run_until_parent_ends, args=(serve, child_end, self.environment), daemon=True
        )
        with _without_interrupts():
            self.process.start()
        child_end.close()  # with the only other end open, the death of the worker ends the connection

    def cause_of_death(self) -> str:
        """Returns, for a worker whose connection has ended, a message that says why."""
        self.process.join()
        code = self.process.exitcode or 0
        if code > Stopped.BASE:
            return f"its process was stopped (signal {code - Stopped.BASE})"
        if code == -signal.SIGKILL:
            return "its process was killed (signal 9), perhaps because the machine was out of memory"
        return f"its process died ({f'signal {-code}' if code < 0 else f'exit code {code}'})"

    def close(self) -> None:
        """Ends an idle worker."""
        with suppress(OSError):
            self.connection.send(None)
        self.process.join()

    def kill(self) -> None:
        """Ends the worker at once."""
        self.process.kill()
        self.process.join()


def stop(workers: Iterable[Worker], seconds: float = TIME_TO_SAVE) -> None:
    """Lets workers save their checkpoints and end; kills those that have not ended after ``seconds``."""
    workers, end = list(workers), time.monotonic() + seconds
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        worker.kill()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C in this process until the block ends, and for good in processes that start in the block.

    A terminal interrupts every process of its group, but only the parent decides when its children end.
    """
    # The resource tracker starts with the first child and then unblocks the signal, so it must run before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_until_parent_ends(
    serve: Callable[[Connection], None], connection: Connection, environment: Mapping[str, str]
) -> None:
    """Serves the connection, and ends the process when its parent ends, even if the parent was killed."""
    os.environ.update(environment)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        with heeding_signals(), suppress(EOFError, ConnectionError):  # the parent has closed its end
            serve(connection)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)

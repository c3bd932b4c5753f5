"""Manners of child processes: the parent alone hears an interrupt, and no child outlives it. Imports no torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Keeps Ctrl-C from processes started inside, for good, and from this one until the end of the block.

    A terminal interrupts every process of its group, but what becomes of the children is for the parent to decide.
    """
    # Where it is not running yet, it is started with the first child and lifts the block when it is.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Lets this process end when its parent is gone, even one that was killed and could not say so."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

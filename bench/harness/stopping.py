"""Stopping at a signal: training saves a checkpoint first, everything else ends at once. Imports no torch."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, the request of a system that shuts down, and Slurm's warning before the time limit."""


class Stopped(BaseException):
    """A signal came. Like KeyboardInterrupt it is no `Exception`, so that nobody takes it for an error.

    Attributes:
        BASE: exit code of a process that a signal stops, less the number of the signal, as in shells.
        signal: the signal.
    """

    BASE = 128

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, 138 for SIGUSR1 on Linux."""
        return self.BASE + self.signal


_first: int | None = None
"""Number of the first signal, None before it."""

_deferrals = 0
"""Number of blocks of ``deferred`` that the process is in."""


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Turns the first signal in the block into ``Stopped``. Later ones are ignored, but Ctrl-C then kills the process.

    A signal that is ignored when the block begins, as Ctrl-C is in a background job of a script, stays ignored.
    """
    global _first

    def handle(number: int, frame: FrameType | None) -> None:
        global _first
        if _first is not None:
            return
        _first = number
        if signal.SIGINT in heeded:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not _deferrals:
            raise Stopped(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    _first = None
    for number in heeded:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])
        _first = None


@contextmanager
def deferred() -> Iterator[None]:
    """Lets a signal wait until ``stop_if_requested`` is called, at the latest until the end of the outermost block."""
    global _deferrals
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
    if not _deferrals:
        stop_if_requested()


def first() -> int | None:
    """Returns the number of the first signal, None before it."""
    return _first


def requested() -> bool:
    """Returns whether a signal came, so that the process must stop soon."""
    return _first is not None


def stop_if_requested() -> None:
    """Stops if a signal came.

    Raises:
        Stopped: it did.
    """
    if _first is not None:
        raise Stopped(_first)

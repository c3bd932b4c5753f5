"""Signals: the first stops the process when it can, later ones do not disturb it, and Ctrl-C twice kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection

import pytest

from bench.harness.processes import Worker, stop
from bench.harness.stopping import SIGNALS, Stopped, deferred, heeding_signals, requested, stop_if_requested


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """The handlers of a fresh process; pytest may run in the background of a shell, where Ctrl-C is ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 128 + signal.SIGUSR1)])
def test_a_signal_stops_at_once(name: str, code: int) -> None:

    @heeding_signals()
    def work() -> None:
        os.kill(os.getpid(), signal.Signals[name])
        signal.pause()

    with pytest.raises(Stopped, match=f"^{name}$") as stopped:
        work()
    assert stopped.value.exit_code == code
    assert not isinstance(stopped.value, Exception)
    assert not requested()


def test_a_deferred_signal_waits_for_the_question_and_the_first_of_several_counts() -> None:
    steps: list[object] = []

    @heeding_signals()
    @deferred()
    def work() -> None:
        stop_if_requested()
        with deferred():
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append(requested())
            with pytest.raises(Stopped):
                stop_if_requested()
            steps.append("within")
        steps.append("outside")

    with pytest.raises(Stopped, match=r"^SIGUSR1$"):
        work()
    assert steps == [True, "within", "outside"]


def test_what_was_ignored_stays_ignored_and_handlers_come_back() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in SIGNALS]
    with heeding_signals():
        os.kill(os.getpid(), signal.SIGINT)
        assert not requested()
    assert [signal.getsignal(number) for number in SIGNALS] == before


SAVING = """
import signal, time
from bench.harness.stopping import deferred, heeding_signals, requested
signal.signal(signal.SIGINT, signal.default_int_handler)
with heeding_signals(), deferred():
    print("ready", flush=True)
    while not requested():
        time.sleep(0.01)
    print("saving", flush=True)
    while True:
        time.sleep(0.01)
"""


def test_a_second_interrupt_kills_in_the_middle_of_anything() -> None:
    with subprocess.Popen([sys.executable, "-c", SAVING], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "saving\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT


def save(connection: Connection, *, for_ever: bool) -> None:
    """Works until it is told to stop, then saves."""
    with deferred():
        connection.send("ready")
        while not requested():
            signal.sigtimedwait([], 0.01)
        while for_ever:
            signal.pause()
        connection.send("saved")


@pytest.mark.parametrize("for_ever", [False, True])
def test_workers_may_save_for_some_time(for_ever: bool) -> None:
    worker = Worker(partial(save, for_ever=for_ever))
    assert worker.connection.recv() == "ready"
    stop([worker], 0.5 if for_ever else 60.0)
    if for_ever:
        assert worker.process.exitcode == -signal.SIGKILL
    else:
        assert worker.connection.recv() == "saved"
        assert worker.process.exitcode == 143
        assert worker.cause_of_death() == "its process was stopped (signal 15)"

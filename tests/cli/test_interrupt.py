"""Ctrl-C, and worse, to a real command with its process group: one line, no orphan, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bench.records.store import load_runs
from tests.cli.cli_process import SCRIPT, run_script

COMMAND = ("run", "mine.yaml", "--scale", "micro.yaml", "--out", "out", "--jobs", "2")
PATIENCE = 300.0
"""Seconds after which a test gives up; a busy machine needs many to import torch three times."""


@pytest.fixture
def long_run(workplace: Path) -> Path:
    """The workplace with one system that is soon done and one that is not."""
    scale = yaml.safe_load((workplace / "micro.yaml").read_text())
    scale["training"] |= {"epochs": 300}  # seconds of work, so that an interrupt comes in time
    scale["scoring"]["n_generations"] = 0
    scale["tasks"] = {"ptb": {"training": {"epochs": 1}}}
    (workplace / "micro.yaml").write_text(yaml.safe_dump(scale))
    (workplace / "mine.yaml").write_text(yaml.safe_dump({"systems": ["embed"], "tasks": ["ptb", "snli"]}))
    return workplace


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs the command in a session of its own, as a terminal does, and leaves nothing of it behind."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(  # noqa: S603
        [SCRIPT, *COMMAND], cwd=folder, start_new_session=True, preexec_fn=_heed_interrupts, **pipes
    ) as process:
        try:
            yield process
        finally:
            if alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def _heed_interrupts() -> None:
    """Undoes what a test run in the background of a shell hands down: interrupts are ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(group: int) -> list[str]:
    """Returns the processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,pid=,stat="], capture_output=True, text=True, check=True)  # noqa: S607
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [pid for pgid, pid, state in rows if pgid == str(group) and not state.startswith("Z")]


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def in_mid_run(folder: Path) -> bool:
    """Says whether one run is recorded and the other one has a checkpoint."""
    return (
        len(list(folder.glob("out/*/record.json"))) == 1 == len(list(folder.glob("out/snli*/checkpoint.safetensors")))
    )


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "stopped by SIGTERM"),
    ],
)
def test_a_signal_leaves_one_line_and_the_same_command_goes_on(
    long_run: Path, number: signal.Signals, how: str
) -> None:
    with started(long_run) as process:
        table = long_run / "out" / "table-mine.md"  # written when the first run ends
        wait_until(lambda: (in_mid_run(long_run) and table.exists()) or process.poll() is not None)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + number, err
        assert out == ""
        *ended, last = err.splitlines()
        assert len(ended) == 1  # the line of the run that had ended
        assert "| embed |" in table.read_text()
        assert last == f"della-bench: {how}; records are kept, and the same command continues from here."
        wait_until(lambda: not alive(process.pid))

    (record,) = long_run.glob("out/*/record.json")
    written = record.stat().st_mtime_ns
    assert in_mid_run(long_run)
    (checkpoint,) = long_run.glob("out/*/checkpoint.safetensors")

    done = run_script(COMMAND, long_run)
    assert done.code == 0, done.err
    assert "The table lies in out/table-mine.md" in done.out
    assert record.stat().st_mtime_ns == written
    assert not checkpoint.exists()
    assert sorted(run.record.task for run in load_runs([long_run / "out"])) == ["ptb", "snli"]


def test_an_interrupt_while_workers_start_leaves_one_line(long_run: Path) -> None:
    """The workers import torch for seconds, and must not answer in the parent's place."""
    with started(long_run) as process:
        # Parent, resource tracker, two workers.
        wait_until(lambda: len(alive(process.pid)) >= 4 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, err
        assert err == "della-bench: interrupted; records are kept, and the same command continues from here.\n"
        wait_until(lambda: not alive(process.pid))


def test_no_worker_outlives_a_command_that_is_killed(long_run: Path) -> None:
    with started(long_run) as process:
        wait_until(lambda: in_mid_run(long_run) or process.poll() is not None)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not alive(process.pid))
        assert process.wait() == -signal.SIGKILL
    assert in_mid_run(long_run)

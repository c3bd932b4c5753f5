"""The log beside the records: the same lines whether runs go in turn or in worker processes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pytest

from bench.harness.grid import run_grid
from bench.harness.log import NAME, Sender, log_file, log_received
from bench.specs import RunSpec

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (?P<process>\d+) (?P<rest>(INFO|WARNING|ERROR) .*)")

RAISING = '''"""A system whose code is wrong."""

import logging

from baselines.language_model import LanguageModel


class Wrong(LanguageModel):
    """Fails at its first batch."""

    def encode(self, batch):
        """Warns with an argument that cannot be pickled, then raises."""
        logging.getLogger("acme").warning("about to %s", type("Fail", (), {"__str__": lambda self: "fail"})())
        raise RuntimeError("shapes do not fit")
'''


@pytest.mark.parametrize("jobs", [1, 2])
def test_start_end_and_traceback_of_every_run_are_appended(
    jobs: int, micro: Callable[..., RunSpec], tmp_path: Path, install: Callable[..., Path]
) -> None:
    install("acme_wrong", {"wrong": "acme_wrong.system:Wrong"}, system=RAISING)
    (tmp_path / NAME).write_text("of an earlier command\n")
    before = logging.getLogger().level
    with log_file(tmp_path):
        outcomes = run_grid([micro("wrong"), micro("lm", training={"epochs": 1})], tmp_path, jobs=jobs)
    assert logging.getLogger().level == before
    first, *lines = (tmp_path / NAME).read_text().splitlines()
    assert first == "of an earlier command"
    (start,) = (place for place, line in enumerate(lines) if line == "Traceback (most recent call last):")
    assert "RuntimeError: shapes do not fit" in lines[start:]
    logged = [match["rest"] for line in lines if (match := LINE.fullmatch(line))]
    assert outcomes[1].record is not None
    expected = [
        "INFO snli wrong seed 0: started",
        "WARNING about to fail",
        "ERROR snli wrong seed 0 failed",
        "INFO snli wrong seed 0: failed: RuntimeError: shapes do not fit",
        "INFO snli lm seed 0: started",
        "INFO snli lm seed 0: trains from the start",
        f"INFO snli lm seed 0: finished, record {outcomes[1].record.run_id}",
    ]
    of_wrong, of_lm = ([line for line in logged if name in line] for name in ("wrong", "lm"))
    assert of_wrong == [line for line in expected if "wrong" in line]
    assert of_lm == expected[4:]
    assert expected[1] in logged
    processes = {match["process"] for line in lines if (match := LINE.fullmatch(line))}
    assert len(processes) == (1 if jobs == 1 else 3)  # the parent and two workers


def test_the_end_of_a_grid_by_an_interrupt_is_logged(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), log_file(tmp_path):
        raise KeyboardInterrupt
    assert (tmp_path / NAME).read_text().endswith(" INFO stopped: KeyboardInterrupt:\n")


def test_a_log_that_cannot_be_written_costs_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / NAME).symlink_to("/dev/full")
    with log_file(tmp_path):
        logging.getLogger("bench").info("a line")
    assert capfd.readouterr() == ("", "")


def test_the_levels_of_the_parent_decide_about_lines_of_workers(caplog: pytest.LogCaptureFixture) -> None:
    parent, child = Pipe()
    sender = Sender(child)
    for level in (logging.INFO, logging.WARNING):
        sender.handle(logging.LogRecord("acme", level, "file", 1, "%d texts", (level,), None))
        log_received(parent.recv())
    assert [record.getMessage() for record in caplog.records] == [f"{logging.WARNING} texts"]

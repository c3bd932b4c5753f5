"""What nobody foresaw: one line, exit code 1, a traceback on demand; outputs that cannot take everything."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench.report
from bench import cli
from bench.records.store import load_runs
from tests.cli.cli_process import SCRIPT, Finished
from tests.reference_records import REFERENCE, needs_reference

RECORDS = REFERENCE / "table8-small"
UNEXPECTED = {
    "EOFError": EOFError(),
    "a broken pipe of another process": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "OSError": OSError(errno.EIO, "Input/output error"),
    "several lines": RuntimeError("first\nsecond"),
    "recursion": RecursionError("too deep"),
    "a surrogate": ValueError("half \ud800"),
}


@needs_reference
@pytest.mark.parametrize("error", UNEXPECTED.values(), ids=UNEXPECTED)
@pytest.mark.parametrize("debug", [False, True])
def test_an_unexpected_error_is_one_line(
    error: Exception, debug: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(bench.report, "build_table", fail)
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)  # standard output is pytest's
    monkeypatch.setattr(sys, "argv", ["della-bench", "table", str(RECORDS), *(["--debug"] if debug else [])])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    lines = capfd.readouterr().err.splitlines()
    assert caught.value.code == 1
    assert lines[-1].startswith(f"della-bench: {type(error).__name__}: ")
    assert lines[-1].endswith(" (unexpected; --debug prints the traceback)")
    assert (lines[0] == "Traceback (most recent call last):") == debug
    assert debug or len(lines) == 1


def run_into(path: str, *arguments: str) -> tuple[int, list[str]]:
    with Path(path).open("w") as output:
        done = subprocess.run([SCRIPT, *arguments], stdout=output, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return done.returncode, done.stderr.splitlines()


@needs_reference
@pytest.mark.parametrize("arguments", [("table", str(RECORDS), "--format", "csv"), ("list", "suites")])
def test_a_full_disk_is_one_line(arguments: tuple[str, ...]) -> None:
    code, (line,) = run_into("/dev/full", *arguments)
    assert code == 1
    assert line.startswith("della-bench: OSError: [Errno 28] No space left on device")


@needs_reference
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
@pytest.mark.parametrize("table_format", ["term", "md", "html", "latex", "csv"])
def test_characters_that_an_output_lacks_are_replaced(encoding: str, table_format: str) -> None:
    done = subprocess.run(  # noqa: S603
        [SCRIPT, "table", str(RECORDS), "--layout", "table8", "--format", table_format],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"78.12" in done.stdout or b"64.93" in done.stdout
    if table_format == "html":
        assert "&#8595;" in done.stdout.decode("utf-8")


def test_tables_are_written_before_they_are_printed(
    della_bench: Callable[..., Finished], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is full: the table and the record are there nevertheless."""
    command = ["run", "mine.yaml", "--scale", "micro.yaml", "--systems", "lm", "--jobs", "1"]
    monkeypatch.chdir(workplace)
    code, lines = run_into("/dev/full", *command)
    assert code == 1
    assert lines[-1].startswith("della-bench: OSError: [Errno 28]")
    folder = workplace / "runs" / "mine-micro"
    assert (folder / "table-mine.md").exists()
    assert len(load_runs([folder])) == 1

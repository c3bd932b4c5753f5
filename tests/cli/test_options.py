"""Options of every verb: at any place, fast, and without an effect on one another."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import bench
from bench import cli
from bench.cli.options import move_to_front
from tests.cli.cli_process import SCRIPT, Finished


def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Finished:
    """Runs the command in this process."""
    monkeypatch.setattr(sys, "argv", ["della-bench", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    printed = capsys.readouterr()
    return Finished(caught.value.code, printed.out, printed.err)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = main(monkeypatch, capsys, "--version")
    packages = f"torch {version('torch')}, transformers {version('transformers')}, Python {platform.python_version()}"
    assert done == Finished(0, f"della-bench {bench.__version__} ({packages})\n", "")


def test_the_version_is_that_of_the_package() -> None:
    assert bench.__version__ == version("della-bench")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (["run", "x", "-v"], ["-v", "run", "x"]),
        (["-q", "run", "x", "--debug"], ["-q", "--debug", "run", "x"]),
        (["score", "--", "-v"], ["score", "--", "-v"]),
        (["-q", "score", "--quiet", "--", "-v"], ["-q", "--quiet", "score", "--", "-v"]),
        (["run", "--version"], ["run", "--version"]),
    ],
)
def test_what_may_stand_anywhere_is_moved_before_the_verb(given: list[str], expected: list[str]) -> None:
    assert move_to_front(given) == expected


def test_verbose_and_quiet_exclude_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = main(monkeypatch, capsys, "-v", "list", "suites", "-q")
    assert done == Finished(2, "", "della-bench: --verbose and --quiet exclude each other.\n")


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ([], ["odd", "failed"]),
        (["-q"], ["failed"]),
        (["--verbose"], ["progress", "odd", "failed"]),
        (["--debug"], ["odd", "failed", "Traceback (most recent call last):"]),
    ],
)
def test_what_is_logged_on_the_terminal(
    options: list[str], printed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("acme")

    def log() -> dict[str, str]:
        logger.info("progress")
        logger.warning("odd")
        try:
            raise RuntimeError("wrong")
        except RuntimeError:
            logger.exception("failed")
        return {"name": "summary"}

    before = logging.getLogger().level, list(logging.getLogger().handlers)
    monkeypatch.setattr("bench.cli.names._summaries", lambda: {"suites": log})
    done = main(monkeypatch, capsys, "list", "suites", *options)
    assert (done.code, done.out) == (0, "name  summary\n")
    assert done.err.splitlines()[: len(printed)] == printed
    assert (len(done.err.splitlines()) > len(printed)) == (options == ["--debug"])
    assert (logging.getLogger().level, list(logging.getLogger().handlers)) == before


@pytest.mark.parametrize("option", ["-q", "-v"])
def test_a_quiet_grid_prints_its_table_and_a_verbose_one_every_start(
    option: str, della_bench: Callable[..., Finished], workplace: Path
) -> None:
    command = ["run", "mine.yaml", "--scale", "micro.yaml", "--systems", "lm", "--jobs", "1", "--out", "out"]
    done = della_bench(*command, option)
    assert done.code == 0, done.err
    assert "The table lies in out/table-mine.md" in done.out
    starts = [line for line in done.err.splitlines() if line == "snli lm seed 0: started"]
    assert len(starts) == (option == "-v")
    assert (done.err == "") == (option == "-q")
    logged = (workplace / "out" / "grid.log").read_text()
    assert f"della-bench {bench.__version__}: della-bench {' '.join(command)} {option}\n" in logged
    assert " INFO snli lm seed 0: started\n" in logged


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    done = main(monkeypatch, capsys, "list", "suites")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("della-bench: Windows is not supported; use ")


@pytest.mark.parametrize(("typed", "verbs"), [("ev", ["evaluate"]), ("re", ["report", "rescore", "reconstruct"])])
def test_the_shell_completes_verbs(typed: str, verbs: list[str]) -> None:
    environment = {
        **os.environ,
        "_DELLA_BENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": f"della-bench {typed}",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, verbs, "")

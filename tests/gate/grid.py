"""The grid of the regression gate: its runs and the speed of its systems, with this package or a changed copy of it.

Everything runs in processes of its own with one thread and without the cache of tokens, so that the numbers do not
depend on the number of cores, nor on what an older version of the code has cached.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.cli.cli_process import SCRIPT

REPOSITORY = Path(__file__).parents[2]
REFERENCE = REPOSITORY / "results" / "reference" / "regress"
SUITE = "gate"
NAME = "regress"
"""Of the suite, of the scale and of the folder of the committed records."""

SPEED = "speed.json"
"""Benchmark file of the training speed of each system, beside its records."""

BENCHMARK = "tests/benchmarks/test_training.py::test_steps_of_the_regression_gate_beside_the_plain_backbone"


OTHER_MACHINE = {"ATEN_CPU_CAPABILITY": "default"}
"""Settings with which torch rounds as on an older processor."""


def call(
    command: list[str], package: Path | None = None, quiet: bool = False, settings: Mapping[str, str] | None = None
) -> int:
    """Runs a command in the repository and returns its exit code.

    Args:
        command: program and arguments.
        package: folder of the packages to run; by default the installed ones.
        quiet: whether the output is discarded.
        settings: further variables of the environment.
    """
    fixed = {"OMP_NUM_THREADS": "1", "DELLA_BENCH_CACHE": "", "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **fixed, **(settings or {})}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    done = subprocess.run(  # noqa: S603  # our own commands
        command, cwd=REPOSITORY, env=environment, check=False, capture_output=quiet, text=True
    )
    return done.returncode


def run_grid(
    out: Path,
    package: Path | None = None,
    *,
    jobs: int = 1,
    quiet: bool = True,
    settings: Mapping[str, str] | None = None,
    **part: Any,
) -> int:
    """Runs the grid, or the ``part`` of it that ``arguments`` takes, into a folder and returns the exit code."""
    return call([SCRIPT, *arguments(out, **part), "--jobs", str(jobs)], package, quiet, settings)


def arguments(out: Path, systems: Iterable[str] = (), tasks: Iterable[str] = (), scale: str = NAME) -> list[str]:
    """Returns the arguments of ``della-bench`` that run the grid or a part of it; what is recorded is not repeated."""
    chosen = [f"--{name}={','.join(values)}" for name, values in (("systems", systems), ("tasks", tasks)) if values]
    return ["run", SUITE, "--scale", scale, "--out", str(out.resolve()), *chosen]


def measure_speed(file: Path, package: Path | None = None, system: str | None = None, quiet: bool = True) -> int:
    """Times the training of a system, or of each, and writes a benchmark file; returns the exit code.

    What counts is the time of the processor: other processes of a busy machine change it little.
    """
    node = BENCHMARK if system is None else f"{BENCHMARK}[{system}]"
    pytest = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    options = ["--benchmark-only", "--benchmark-timer=time.process_time", f"--benchmark-json={file.resolve()}"]
    return call([*pytest, node, *options], package, quiet)

"""Benchmarks run only when asked for: ``pytest tests/benchmarks --benchmark-only``.

What counts is how long ours takes beside a reference that does the same work in the same run, so that another machine,
or a busy one, changes little. ``beside`` measures it and writes it to the file that ``della-bench compare`` reads.
``growth`` measures how the time of one piece of work grows with its size. Neither fails by the clock: a run ends with
all figures beside their targets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.figures import Beside, Figure, Growth, Peak

FIGURES = pytest.StashKey[list[Figure]]()
THREADS = pytest.StashKey[int]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(config.getoption(name, default=False) for name in ("benchmark_only", "benchmark_enable"))
    return None if asked else True


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Unlike tests, benchmarks take as many threads as torch does by itself: one per core, or ``OMP_NUM_THREADS``."""


@pytest.fixture(scope="session", autouse=True)
def _threads(_one_thread: None, request: pytest.FixtureRequest) -> None:
    """Notes the threads of the benchmarks; when pytest-benchmark asks, they are over."""
    request.config.stash[THREADS] = torch.get_num_threads()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)  # a file that is committed names no computer
    machine_info |= {"threads": config.stash.get(THREADS, None), "torch": torch.__version__}


@pytest.fixture
def beside(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Beside:
    return Beside(benchmark, request.config.stash[FIGURES])


@pytest.fixture
def growth(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Growth:
    return Growth(benchmark, request.config.stash[FIGURES])


@pytest.fixture
def peak(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Peak:
    return Peak(benchmark, request.config.stash[FIGURES])


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if not figures:
        return
    terminalreporter.section(f"figures beside their targets (threads {config.stash[THREADS]})")
    width, of_name = (max(len(getattr(figure, key)) for figure in figures) for key in ("benchmark", "name"))
    for figure in figures:
        line = (
            f"{figure.benchmark:<{width}}  {figure.name:<{of_name}} {figure.value:>8.4g}  at most {figure.at_most:<5g}"
        )
        mark = "MISSED" if figure.missed else ""
        terminalreporter.write_line(f"{line} {mark:<6}  {figure.seconds}", red=figure.missed)

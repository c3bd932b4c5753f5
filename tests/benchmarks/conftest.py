"""Benchmarks run only when asked for: ``pytest tests/benchmarks --benchmark-only``.

What counts is how long ours takes beside a reference that does the same work in the same run, so that another machine,
or a busy one, changes little. ``beside`` measures it and writes it to the file that ``della-bench compare`` reads.
``growth`` measures how the time of one piece of work grows with its size. Neither fails by the clock: a run ends with
all figures beside their targets.
"""

from __future__ import annotations

import json
from dataclasses import asdict
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only the main ratios, within five minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    config.pluginmanager.register(FiguresAtOnce(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick", default=False):
        others = [item for item in items if item.get_closest_marker("main_ratio") is None]
        items[:] = [item for item in items if item.get_closest_marker("main_ratio") is not None]
        config.hook.pytest_deselected(items=others)


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


class FiguresAtOnce:
    """Prints the figures of each benchmark when it ends, and adds them to a file beside that of pytest-benchmark."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.told = config, 0
        json_file: Path | None = config.getoption("benchmark_json", default=None)
        self.path = None if json_file is None else json_file.with_suffix(".jsonl")
        if self.path is not None:
            self.path.unlink(missing_ok=True)  # of an earlier run

    def pytest_runtest_logfinish(self) -> None:
        figures = self.config.stash[FIGURES][self.told :]
        self.told += len(figures)
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and figures:
            reporter.ensure_newline()
            for figure in figures:
                reporter.write_line(figure.line(), red=figure.missed)
        if self.path is not None and figures:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(asdict(figure))}\n" for figure in figures)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if not figures:
        return
    terminalreporter.section(f"figures beside their targets (threads {config.stash[THREADS]})")
    width, of_name = (max(len(getattr(figure, key)) for figure in figures) for key in ("benchmark", "name"))
    for figure in figures:
        terminalreporter.write_line(figure.line(width, of_name), red=figure.missed)

"""Benchmarks run only when asked for: ``pytest tests/benchmarks --benchmark-only``.

What counts is how long ours takes beside a reference that does the same work in the same run, so that another machine,
or a busy one, changes little. ``beside`` measures it and leaves it in the artefact that ``della-bench compare`` reads.
``growth`` measures how the time of one piece of work grows with its size. Neither fails by the clock: the end of the
run shows all figures beside their targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, Protocol

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(config.getoption(name, default=False) for name in ("benchmark_only", "benchmark_enable"))
    return None if asked else True


@dataclass(frozen=True)
class Figure:
    """What a benchmark found, what it aimed at, and the seconds behind it."""

    benchmark: str
    name: str
    value: float
    at_most: float
    seconds: str


FIGURES = pytest.StashKey[list[Figure]]()
THREADS = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


@pytest.fixture(scope="session", autouse=True)
def _threads(_one_thread: None, request: pytest.FixtureRequest) -> None:
    """Notes the threads of the benchmarks; when pytest-benchmark asks, they are over."""
    request.config.stash[THREADS] = torch.get_num_threads()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info |= {"threads": config.stash.get(THREADS, None), "torch": torch.__version__}


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if not figures:
        return
    terminalreporter.section(f"figures beside their targets (threads {config.stash[THREADS]})")
    width, of_name = (max(len(getattr(figure, key)) for figure in figures) for key in ("benchmark", "name"))
    for figure in figures:
        missed = figure.value > figure.at_most
        line = (
            f"{figure.benchmark:<{width}}  {figure.name:<{of_name}} {figure.value:>8.4g}  at most {figure.at_most:<5g}"
        )
        terminalreporter.write_line(f"{line} {'MISSED' if missed else '':<6}  {figure.seconds}", red=missed)


def in_turns(
    benchmark: BenchmarkFixture, ours: Callable[[], object], others: Sequence[Callable[[], object]], rounds: int
) -> list[float]:
    """Times ours as the benchmark, the others before each of its rounds; returns the median seconds of all, ours last.

    In turns, so that what disturbs the machine disturbs all of them; one round more comes first and does not count.
    """
    seconds: list[list[float]] = [[] for _ in others]

    def time_others() -> None:
        for other, taken in zip(others, seconds, strict=True):
            start = time.perf_counter()
            other()
            taken.append(time.perf_counter() - start)

    benchmark.pedantic(ours, setup=time_others, rounds=rounds, warmup_rounds=1)
    return [*(median(taken[-rounds:]) for taken in seconds), benchmark.stats.stats.median]


class Beside(Protocol):
    """Times ours and a reference in turns; returns the ratio of their median seconds, ours / reference.

    Args:
        ours: what is measured.
        reference: what does the same work otherwise.
        at_most: the ratio aimed at.
        rounds: of each, after one that is not counted.
        **sizes: kept beside the figures.
    """

    def __call__(
        self,
        ours: Callable[[], object],
        reference: Callable[[], object],
        *,
        at_most: float,
        rounds: int = 5,
        **sizes: object,
    ) -> float: ...


@pytest.fixture
def beside(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Beside:
    def measure(
        ours: Callable[[], object],
        reference: Callable[[], object],
        *,
        at_most: float,
        rounds: int = 5,
        **sizes: object,
    ) -> float:
        of_reference, of_ours = in_turns(benchmark, ours, [reference], rounds)
        ratio = of_ours / of_reference
        benchmark.extra_info |= {
            "ratio": ratio,
            "at_most": at_most,
            "reference_seconds": of_reference,
            "sizes": sizes,
        }
        told = f"{of_ours:.3g} s beside {of_reference:.3g} s"
        request.config.stash[FIGURES].append(Figure(request.node.name, "ratio", ratio, at_most, told))
        return ratio

    return measure


class Growth(Protocol):
    """Times one piece of work at several sizes, in turns; returns the exponent p of seconds ~ size^p.

    Args:
        work: makes, for a size, what is measured; the making is not timed.
        of: what the size counts, for example ``texts``.
        series: the sizes, ascending; the seconds of the last are the benchmark's.
        at_most: the exponent aimed at, for example a little above 1 where time should be linear.
        rounds: of each size, after one that is not counted.
        **sizes: what else decides how much work it is; kept beside the figures.
    """

    def __call__(
        self,
        work: Callable[[int], Callable[[], object]],
        of: str,
        series: Sequence[int],
        *,
        at_most: float,
        rounds: int = 3,
        **sizes: object,
    ) -> float: ...


@pytest.fixture
def growth(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Growth:
    def measure(
        work: Callable[[int], Callable[[], object]],
        of: str,
        series: Sequence[int],
        *,
        at_most: float,
        rounds: int = 3,
        **sizes: object,
    ) -> float:
        *smaller, largest = map(work, series)
        seconds = in_turns(benchmark, largest, smaller, rounds)
        # Least squares on logarithms: the slope is the exponent.
        exponent = linear_regression(list(map(log, series)), list(map(log, seconds))).slope
        found = {"of": of, "series": list(series), "seconds": seconds, "exponent": exponent, "at_most": at_most}
        benchmark.extra_info |= {"growth": found, "sizes": sizes}
        told = ", ".join(f"{size}: {taken:.3g} s" for size, taken in zip(series, seconds, strict=True))
        request.config.stash[FIGURES].append(Figure(request.node.name, f"growth in {of}", exponent, at_most, told))
        return exponent

    return measure

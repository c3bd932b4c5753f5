"""Benchmarks run only when asked for: ``pytest tests/benchmarks --benchmark-only``.

What counts is how long ours takes beside a reference that does the same work in the same run, so that another machine,
or a busy one, changes little. ``beside`` measures it and leaves it in the artefact that ``della-bench compare`` reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(config.getoption(name, default=False) for name in ("benchmark_only", "benchmark_enable"))
    return None if asked else True


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
def beside(benchmark: BenchmarkFixture) -> Beside:
    def measure(
        ours: Callable[[], object],
        reference: Callable[[], object],
        *,
        at_most: float,
        rounds: int = 5,
        **sizes: object,
    ) -> float:
        seconds: list[float] = []

        def time_reference() -> None:
            start = time.perf_counter()
            reference()
            seconds.append(time.perf_counter() - start)

        # One before each round of ours: in turns, so that what disturbs the machine disturbs both.
        benchmark.pedantic(ours, setup=time_reference, rounds=rounds, warmup_rounds=1)
        of_reference = median(seconds[-rounds:])
        ratio = benchmark.stats.stats.median / of_reference
        benchmark.extra_info |= {
            "ratio": ratio,
            "at_most": at_most,
            "reference_seconds": of_reference,
            "sizes": sizes,
        }
        return ratio

    return measure

"""What benchmarks find: ratios of time and memory to what is measured beside them, and growth with size."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import linear_regression, median

from pytest_benchmark.fixture import BenchmarkFixture

Work = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One figure, what it aimed at, and the seconds behind it."""

    benchmark: str
    name: str
    value: float
    at_most: float
    seconds: str

    @property
    def missed(self) -> bool:
        return self.value > self.at_most

    def line(self, width: int = 0, of_name: int = 0) -> str:
        """Returns the figure as a line of a table whose first columns are at least so wide."""
        told = f"{self.benchmark:<{width}}  {self.name:<{of_name}} {self.value:>8.4g}  at most {self.at_most:<5g}"
        return f"{told} {'MISSED' if self.missed else '':<6}  {self.seconds}"


@dataclass(frozen=True)
class Beside:
    """Times ours and a reference in turns and writes their ratio to the benchmark file."""

    benchmark: BenchmarkFixture
    found: list[Figure]

    def __call__(
        self,
        ours: Work,
        reference: Work,
        *,
        at_most: float,
        rounds: int = 5,
        tolerance: float | None = None,
        **sizes: object,
    ) -> float:
        """Returns the ratio of their median seconds, ours / reference.

        Args:
            ours: what is measured.
            reference: what does the same work otherwise, or stands for the least there is to do.
            at_most: the ratio aimed at.
            rounds: of each, after one that is not counted.
            tolerance: relative change of the ratio that comparisons accept; None for what they accept of most.
            **sizes: what decides how much work it is; ratios of other sizes are not compared.
        """
        of_reference, of_ours = _in_turns(self.benchmark, ours, [reference], rounds)
        ratio = of_ours / of_reference
        self.benchmark.extra_info |= {
            "ratio": ratio,
            "at_most": at_most,
            "reference_seconds": of_reference,
            "tolerance": tolerance,
            "sizes": sizes,
        }
        told = f"{of_ours:.3g} s beside {of_reference:.3g} s"
        self.found.append(Figure(self.benchmark.name, "ratio", ratio, at_most, told))
        return ratio


@dataclass(frozen=True)
class Growth:
    """Times one piece of work at several sizes in turns and writes the exponent of its growth to the benchmark file."""

    benchmark: BenchmarkFixture
    found: list[Figure]

    def __call__(
        self,
        work: Callable[[int], Work],
        of: str,
        series: Sequence[int],
        *,
        at_most: float,
        rounds: int = 5,
        **sizes: object,
    ) -> float:
        """Returns p where seconds grow as size^p: the least-squares slope of their logarithms.

        Args:
            work: makes what is measured at a size; the making is not timed.
            of: what the size counts, for example ``texts``.
            series: two sizes or more, ascending; the seconds of the last are the benchmark's.
            at_most: the exponent aimed at, a little above 1 where time should be linear.
            rounds: of each size, after one that is not counted.
            **sizes: what else decides how much work it is.
        """
        *smaller, largest = map(work, series)
        seconds = _in_turns(self.benchmark, largest, smaller, rounds)
        exponent = linear_regression([log(size) for size in series], [log(taken) for taken in seconds]).slope
        self.benchmark.extra_info |= {
            "growth": {
                "of": of,
                "series": list(series),
                "seconds": seconds,
                "exponent": exponent,
                "at_most": at_most,
            },
            "sizes": sizes,
        }
        told = ", ".join(f"{size}: {taken:.3g} s" for size, taken in zip(series, seconds, strict=True))
        self.found.append(Figure(self.benchmark.name, f"growth in {of}", exponent, at_most, told))
        return exponent


def _in_turns(benchmark: BenchmarkFixture, ours: Work, others: Sequence[Work], rounds: int) -> list[float]:
    """Times ours as the benchmark, the others before each of its rounds; returns the median seconds of all, ours last.

    In turns, so that what disturbs the machine disturbs all of them; one round more comes first and does not count.
    """
    seconds: list[list[float]] = [[] for _ in others]
    timer: Callable[[], float] = benchmark._timer  # ours and the others by the clock of --benchmark-timer

    def time_others() -> None:
        for other, taken in zip(others, seconds, strict=True):
            start = timer()
            other()
            taken.append(timer() - start)

    benchmark.pedantic(ours, setup=time_others, rounds=rounds, warmup_rounds=1)
    return [*(median(taken[-rounds:]) for taken in seconds), benchmark.stats.stats.median]


@dataclass(frozen=True)
class Peak:
    """Measures the memory of two processes and writes the ratio of their peaks to the benchmark file."""

    benchmark: BenchmarkFixture
    found: list[Figure]

    def __call__(self, ours: Sequence[str], reference: Sequence[str], *, at_most: float, **sizes: object) -> float:
        """Returns the ratio of peaks, ours / reference.

        Args:
            ours: arguments of peak.py for what is measured.
            reference: arguments for what it is measured beside.
            at_most: the ratio aimed at.
            **sizes: what decides how much memory it takes; ratios of other sizes are not compared.
        """
        mine = self.benchmark.pedantic(_peak, (ours,))
        other = _peak(reference)
        self.benchmark.extra_info |= {"ratio": mine / other, "at_most": at_most, "sizes": sizes}
        told = f"{mine / 1e6:.4g} MB beside {other / 1e6:.4g} MB"
        self.found.append(Figure(self.benchmark.name, "memory", mine / other, at_most, told))
        return mine / other


def _peak(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.peak", *arguments]
    done = subprocess.run(  # noqa: S603  # our own script
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    return int(done.stdout.split()[-1])

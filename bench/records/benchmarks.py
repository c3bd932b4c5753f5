"""Benchmark files: the JSON that pytest-benchmark writes, and the comparison of two of them.

The comparison judges the ``ratio`` of a benchmark: its time divided by the time of a reference that ran in turns with
it, so that a slow machine slows both. It prints the seconds but does not judge them, since they depend on the machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import override

from bench.errors import BenchError
from bench.reading import parse_as, read_json
from bench.records.comparison import ComparedSets, Comparison, Obstacle, judge

FILES = "files"
"""What stands in the place of a benchmark where two files are compared as a whole."""


class _FilePart(BaseModel):
    """A frozen part of a benchmark file; keys that are not declared here are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Cpu(_FilePart):
    brand_raw: str = "unknown CPU"


class Machine(_FilePart):
    """The machine; ``threads`` and ``torch`` are None if the benchmarks did not use torch."""

    cpu: _Cpu = _Cpu()
    python_version: str
    threads: int | None = None
    torch: str | None = None

    def __str__(self) -> str:
        return f"{self.cpu.brand_raw}, threads {self.threads}, torch {self.torch}, Python {self.python_version}"


class BenchmarkFigures(_FilePart):
    """Results of a benchmark besides its seconds.

    Attributes:
        ratio: median seconds of the benchmark divided by those of its reference; None without a reference.
        reference_seconds: median seconds of the reference.
        tolerance: relative change of the ratio that is accepted; None for that of the comparison.
        sizes: name to value of what determines the amount of work.
    """

    ratio: float | None = Field(default=None, gt=0)
    reference_seconds: float | None = None
    tolerance: float | None = Field(default=None, gt=0)
    sizes: Mapping[str, JsonValue] = {}


class _Stats(_FilePart):
    median: float


class Benchmark(_FilePart):
    """One benchmark; its name consists of file, function and parameters."""

    name: str = Field(alias="fullname")
    stats: _Stats
    figures: BenchmarkFigures = Field(alias="extra_info")


class BenchmarkFile(_FilePart):
    """All benchmarks of one run of pytest."""

    machine: Machine = Field(alias="machine_info")
    benchmarks: tuple[Benchmark, ...]


@dataclass(frozen=True)
class RatioComparison(Comparison):
    """The ratio of one benchmark in two files.

    Attributes:
        benchmark: its name.
        seconds: its median seconds in both files, None if the ratios are not comparable.
    """

    benchmark: str
    seconds: tuple[float, float] | None = None

    @property
    @override
    def subject(self) -> str:
        return f"{self.benchmark} ratio"

    @property
    @override
    def name(self) -> str:
        return self.benchmark

    @property
    @override
    def note(self) -> str:
        return "seconds {:.3g} -> {:.3g}".format(*self.seconds) if self.seconds else ""


@dataclass(frozen=True)
class FileComparison(Comparison):
    """A statement on two benchmark files as a whole."""

    @property
    @override
    def subject(self) -> str:
        return FILES

    @property
    @override
    def name(self) -> str:
        return FILES


def is_benchmark_file(path: Path) -> bool:
    """Returns whether a path names a JSON object with the key ``benchmarks``; the rest may be invalid."""
    try:
        return "benchmarks" in read_json(path)
    except BenchError:
        return False


def read_benchmark_file(path: Path) -> BenchmarkFile:
    """Reads the output of ``pytest --benchmark-json``.

    Raises:
        BenchError: the file is unreadable or not a benchmark file, holds a benchmark twice, or has no ratio.
    """
    complaint = f"{path}: not a benchmark file; a benchmark file can be compared only with another"
    if path.is_dir():
        raise BenchError(f"{complaint} (a folder)")
    file = parse_as(BenchmarkFile, read_json(path), complaint)
    counts = Counter(benchmark.name for benchmark in file.benchmarks)
    if duplicates := [name for name, count in counts.items() if count > 1]:
        raise BenchError(f"{path}: the benchmark {duplicates[0]} occurs more than once")
    if all(benchmark.figures.ratio is None for benchmark in file.benchmarks):
        raise BenchError(f"{path}: no benchmark has a ratio, and seconds are not compared")
    return file


def compare_benchmarks(first: BenchmarkFile, second: BenchmarkFile, tolerance: float = 0.25) -> ComparedSets:
    """Compares the ratio of every benchmark of ``first`` with the ratio of the same name in ``second``.

    Args:
        first: the file to compare with.
        second: the file under test.
        tolerance: relative change of a ratio that is accepted, where the benchmark of ``first`` does not say.

    Returns:
        One comparison for each benchmark that has a ratio in either file, in the order of the first; before them one
        that says so if the files are copies. A remark says if the machines differ.
    """
    in_first, in_second = ({benchmark.name: benchmark for benchmark in file.benchmarks} for file in (first, second))
    result: list[Comparison] = []
    if first == second:
        reason = "all seconds are equal to the last digit: copies of one file"
        result.append(FileComparison(verdict="incomparable", obstacle="same", reason=reason))
    for name in dict.fromkeys([*in_first, *in_second]):
        a, b = in_first.get(name), in_second.get(name)
        if (a and a.figures.ratio) or (b and b.figures.ratio):
            result.append(_compare_ratios(name, a, b, tolerance))
    differ = f"machines differ, so the seconds are not comparable: {first.machine} and {second.machine}"
    return ComparedSets(tuple(result), (differ,) if first.machine != second.machine else ())


def _compare_ratios(name: str, first: Benchmark | None, second: Benchmark | None, tolerance: float) -> Comparison:
    def incomparable(obstacle: Obstacle, reason: str) -> Comparison:
        return RatioComparison(name, verdict="incomparable", obstacle=obstacle, reason=reason)

    a, b = (benchmark.figures.ratio if benchmark else None for benchmark in (first, second))
    if first is None or second is None or a is None or b is None:
        return incomparable("missing", f"{_side(first)} in the first file, {_side(second)} in the second")
    sizes = first.figures.sizes, second.figures.sizes
    keys = [key for key in dict.fromkeys([*sizes[0], *sizes[1]]) if sizes[0].get(key) != sizes[1].get(key)]
    if keys:
        differ = ", ".join(f"{key} {sizes[0].get(key)} and {sizes[1].get(key)}" for key in keys)
        return incomparable("sizes", f"sizes differ: {differ}")
    tolerance = first.figures.tolerance or tolerance
    return RatioComparison(
        name,
        (first.stats.median, second.stats.median),
        verdict=judge(a, b, tolerance, "down"),
        first=a,
        second=b,
        tolerance=tolerance,
    )


def _side(benchmark: Benchmark | None) -> str:
    if benchmark is None:
        return "no benchmark"
    return f"ratio {benchmark.figures.ratio:.3g}" if benchmark.figures.ratio else "no ratio"

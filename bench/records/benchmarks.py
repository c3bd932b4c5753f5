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
from bench.records.comparison import Comparison, judge


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
        sizes: name to value of what determines the amount of work.
    """

    ratio: float | None = Field(default=None, gt=0)
    reference_seconds: float | None = None
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
    def note(self) -> str:
        return "seconds {:.3g} -> {:.3g}".format(*self.seconds) if self.seconds else ""


@dataclass(frozen=True)
class MachineComparison(Comparison):
    """States that the machines differ, so that the seconds of all benchmarks are not comparable."""

    @property
    @override
    def subject(self) -> str:
        return "seconds"


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


def compare_benchmarks(first: BenchmarkFile, second: BenchmarkFile, tolerance: float = 0.25) -> list[Comparison]:
    """Compares the ratio of every benchmark of ``first`` with the ratio of the same name in ``second``.

    Args:
        first: the file to compare with.
        second: the file under test.
        tolerance: relative change of a ratio that is accepted.

    Returns:
        One comparison for each benchmark that has a ratio in either file, in the order of the first; if the machines
        differ, a comparison that says so comes before them.

    Raises:
        BenchError: no benchmark is in both files.
    """
    in_first, in_second = ({benchmark.name: benchmark for benchmark in file.benchmarks} for file in (first, second))
    if not in_first.keys() & in_second.keys():
        raise BenchError("nothing to compare: no benchmark is in both files")
    result: list[Comparison] = []
    if first.machine != second.machine:
        reason = f"machines differ: {first.machine} and {second.machine}"
        result.append(MachineComparison(verdict="incomparable", reason=reason))
    for name in dict.fromkeys([*in_first, *in_second]):
        a, b = in_first.get(name), in_second.get(name)
        if (a and a.figures.ratio) or (b and b.figures.ratio):
            result.append(_compare_ratios(name, a, b, tolerance))
    return result


def _compare_ratios(name: str, first: Benchmark | None, second: Benchmark | None, tolerance: float) -> Comparison:
    if first is None or second is None:
        reason = f"the benchmark is only in the {'second' if first is None else 'first'} file"
        return RatioComparison(name, verdict="incomparable", reason=reason)
    a, b = first.figures, second.figures
    if a.ratio is None or b.ratio is None:
        reason = f"the {'second' if a.ratio else 'first'} file has no ratio"
        return RatioComparison(name, verdict="incomparable", reason=reason)
    keys = [key for key in dict.fromkeys([*a.sizes, *b.sizes]) if a.sizes.get(key) != b.sizes.get(key)]
    if keys:
        sizes = ", ".join(f"{key} {a.sizes.get(key)} and {b.sizes.get(key)}" for key in keys)
        return RatioComparison(name, verdict="incomparable", reason=f"sizes differ: {sizes}")
    return RatioComparison(
        name,
        (first.stats.median, second.stats.median),
        verdict=judge(a.ratio, b.ratio, tolerance, "down"),
        first=a.ratio,
        second=b.ratio,
        tolerance=tolerance,
    )

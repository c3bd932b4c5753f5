"""The artefact of the benchmarks: what pytest-benchmark wrote, and two of them against each other.

What is judged is each benchmark's ``ratio``, the time of what is measured over that of a reference which took turns
with it: what slows a machine slows both. Seconds are told and never judged: they are the machine's as much as ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from bench.errors import BenchError
from bench.reading import parse_as, read_json
from bench.records.verdict import Comparison, judge


class _Entry(BaseModel):
    """A piece of the artefact; what pytest-benchmark writes besides is passed over."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Cpu(_Entry):
    brand_raw: str = "unknown CPU"


class Machine(_Entry):
    """Where the benchmarks ran; ``threads`` and ``torch`` are None where only other code was measured."""

    cpu: _Cpu = _Cpu()
    python_version: str
    threads: int | None = None
    torch: str | None = None

    def __str__(self) -> str:
        return f"{self.cpu.brand_raw}, threads {self.threads}, torch {self.torch}, Python {self.python_version}"


class Figures(_Entry):
    """What a benchmark leaves beside its seconds.

    Attributes:
        ratio: median seconds of what is measured over those of the reference; None where there is no reference.
        reference_seconds: median seconds of the reference.
        sizes: what decides how much work it is, by name.
    """

    ratio: float | None = Field(default=None, gt=0)
    reference_seconds: float | None = None
    sizes: Mapping[str, JsonValue] = {}


class _Stats(_Entry):
    median: float


class Benchmark(_Entry):
    """One benchmark, named by file, function and parameters."""

    name: str = Field(alias="fullname")
    stats: _Stats
    figures: Figures = Field(alias="extra_info")


class Artefact(_Entry):
    """All benchmarks of one run of pytest."""

    machine: Machine = Field(alias="machine_info")
    benchmarks: tuple[Benchmark, ...]


@dataclass(frozen=True)
class RatioComparison(Comparison):
    """The ratio of one benchmark in both artefacts.

    Attributes:
        benchmark: its name.
        seconds: medians of what is measured in both, None where the ratios are not compared.
    """

    benchmark: str
    seconds: tuple[float, float] | None = None

    @property
    def subject(self) -> str:
        """The benchmark."""
        return f"{self.benchmark} ratio"

    @property
    def note(self) -> str:
        """The seconds."""
        return "seconds {:.3g} -> {:.3g}".format(*self.seconds) if self.seconds else ""


@dataclass(frozen=True)
class MachineComparison(Comparison):
    """That seconds are not comparable, as the machines differ; ratios are."""

    @property
    def subject(self) -> str:
        """The seconds of all benchmarks."""
        return "seconds"


def is_artefact(path: Path) -> bool:
    """Returns whether a path names a JSON file with benchmarks, whatever else may be wrong with it."""
    try:
        return "benchmarks" in read_json(path)
    except BenchError:
        return False


def load_artefact(path: Path) -> Artefact:
    """Reads what ``pytest --benchmark-json`` wrote.

    Raises:
        BenchError: the file cannot be read, is no such artefact, holds a benchmark twice or none that has a ratio.
    """
    complaint = f"{path}: not an artefact of pytest-benchmark, which is compared with another such"
    if path.is_dir():
        raise BenchError(f"{complaint} (a folder)")
    artefact = parse_as(Artefact, read_json(path), complaint)
    twice = [name for name, count in Counter(one.name for one in artefact.benchmarks).items() if count > 1]
    if twice:
        raise BenchError(f"{path}: the benchmark {twice[0]} is there more than once")
    if all(one.figures.ratio is None for one in artefact.benchmarks):
        raise BenchError(f"{path}: no benchmark has a ratio, and seconds are not compared")
    return artefact


def compare(first: Artefact, second: Artefact, tolerance: float = 0.25) -> list[Comparison]:
    """Compares the ratio of every benchmark of ``first`` with that of the same name in ``second``.

    Args:
        first: the artefact to compare with.
        second: the artefact under test.
        tolerance: relative change of a ratio that passes.

    Returns:
        One comparison per benchmark that has a ratio in either, in the order of the first; before them one that says
        so if the machines differ.

    Raises:
        BenchError: no benchmark is in both.
    """
    ours, theirs = ({one.name: one for one in artefact.benchmarks} for artefact in (first, second))
    if not ours.keys() & theirs.keys():
        raise BenchError("nothing to compare: no benchmark is in both artefacts")
    result: list[Comparison] = []
    if first.machine != second.machine:
        reason = f"machines differ: {first.machine} and {second.machine}"
        result.append(MachineComparison(verdict="incomparable", reason=reason))
    for name in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(name), theirs.get(name)
        if any(one is not None and one.figures.ratio is not None for one in (a, b)):
            result.append(_compare_ratios(name, a, b, tolerance))
    return result


def _compare_ratios(name: str, first: Benchmark | None, second: Benchmark | None, tolerance: float) -> Comparison:
    if first is None or second is None:
        reason = f"the benchmark is in the {'second' if first is None else 'first'} artefact only"
        return RatioComparison(name, verdict="incomparable", reason=reason)
    a, b = first.figures, second.figures
    if a.ratio is None or b.ratio is None:
        reason = f"the {'second' if a.ratio else 'first'} artefact has no ratio"
        return RatioComparison(name, verdict="incomparable", reason=reason)
    sizes = [key for key in dict.fromkeys([*a.sizes, *b.sizes]) if a.sizes.get(key) != b.sizes.get(key)]
    if sizes:
        told = ", ".join(f"{key} {a.sizes.get(key)} and {b.sizes.get(key)}" for key in sizes)
        return RatioComparison(name, verdict="incomparable", reason=f"sizes differ: {told}")
    return RatioComparison(
        name,
        (first.stats.median, second.stats.median),
        verdict=judge(a.ratio, b.ratio, tolerance, "down"),
        first=a.ratio,
        second=b.ratio,
        tolerance=tolerance,
    )

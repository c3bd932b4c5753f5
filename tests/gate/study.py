"""What the regression gate says to unchanged code and to each fault, and the table of it in docs/regression-gate.md."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import bench
from bench.errors import BenchError
from bench.metric import PerTextMetric
from bench.metrics.model import model_metrics
from bench.records.benchmarks import compare_benchmarks, read_benchmark_file
from bench.records.compare import compare_runs
from bench.records.comparison import ComparedSets, Comparison
from bench.records.store import StoredRun, load_runs
from tests.gate.faults import FAULTS, MISTAKE, CodeFault, Fault, ResultFault
from tests.gate.grid import BENCHMARK, NAME, OTHER_MACHINE, SPEED, measure_speed, run_grid
from tests.pages import with_rows

PACKAGES = ("bench", "della", "baselines")
UNCHANGED = 3
"""Runs of unchanged code in a row, each of which must pass beside the first."""


@dataclass(frozen=True)
class Answer:
    """What the gate says.

    Attributes:
        code: exit code.
        line: the first line that names the cell and is not fine; empty if there is none.
        elsewhere: exit code where the reference is of another machine, so that tolerances decide.
    """

    code: int
    line: str
    elsewhere: int


@dataclass(frozen=True)
class Finding:
    """A fault and what the gate says to it."""

    fault: Fault
    answer: Answer

    @property
    def noticed(self) -> bool:
        """Whether the exit code is the expected one and a line names the cell."""
        return self.answer.code == self.fault.code and bool(self.answer.line)


def copy_packages(folder: Path) -> Path:
    """Returns the folder, with a copy of the packages that are in use."""
    installed = Path(bench.__file__).parents[1]
    for name in PACKAGES:
        shutil.copytree(installed / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@dataclass(frozen=True)
class Gate:
    """The gate in a working folder, at a scale.

    Attributes:
        folder: of all files.
        scale: of the runs; a name or a file.
        run: runs a part of the grid, as ``run_grid`` does.
    """

    folder: Path
    scale: str = NAME
    run: Callable[..., object] = run_grid

    @property
    def reference(self) -> Path:
        """The folder of the runs of unchanged code."""
        return self.folder / "unchanged"

    def prepare(self, faults: Iterable[Fault]) -> None:
        """Runs those parts of the grid with unchanged code that the faults need."""
        faults = list(faults)
        cells = {(fault.task, fault.system) for fault in faults if not _is_seen_in_speed(fault)}
        for task in dict.fromkeys(task for task, _ in cells):
            systems = sorted(system for name, system in cells if name == task)
            self.run(self.reference, systems=systems, tasks=[task], scale=self.scale)
        if any(map(_is_seen_in_speed, faults)) and not (self.reference / SPEED).exists():
            _time_steps(self.reference / SPEED)

    def examine(self, fault: Fault) -> Finding:
        """Makes a fault, and returns what the gate says to it; ``prepare`` must have run."""
        folder = self.folder / re.sub(r"\W+", "-", fault.name)
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(fault, CodeFault):
            fault.inject(package := copy_packages(folder / "package"))
            if fault.seen_in == "speed":
                return Finding(fault, self._of_speed(fault, folder / SPEED, package))
            self.run(folder / "runs", package, systems=[fault.system], tasks=[fault.task], scale=self.scale)
        elif isinstance(fault, ResultFault):
            self.run(folder / "runs", systems=[fault.system], tasks=[fault.task], scale=self.scale)
            (run,) = load_runs([folder / "runs"])
            fault.change(run.path.parent)
        try:
            runs = load_runs([folder / "runs"])
        except BenchError as error:
            return Finding(fault, Answer(MISTAKE, str(error).replace(f"{folder}/", ""), MISTAKE))
        before = [run for run in load_runs([self.reference]) if _cell(run) == (fault.task, fault.system)]
        compared, elsewhere = _compare(before, runs), _compare(_of_other_machine(before), runs)
        return Finding(fault, answer(compared, elsewhere, f"{fault.task} {fault.system} "))

    def _of_speed(self, fault: Fault, file: Path, package: Path) -> Answer:
        _time_steps(file, package, fault.system)
        reference = json.loads((self.reference / SPEED).read_text(encoding="utf-8"))
        name = f"{BENCHMARK}[{fault.system}]"
        reference["benchmarks"] = [each for each in reference["benchmarks"] if each["fullname"] == name]
        before = file.with_name("before.json")
        before.write_text(json.dumps(reference), encoding="utf-8")
        compared = compare_benchmarks(read_benchmark_file(before), read_benchmark_file(file))
        return answer(compared, compared, name)


def answer(compared: ComparedSets, elsewhere: ComparedSets, cell: str) -> Answer:
    """Returns what the gate says in two comparisons; what is compared begins with ``cell``."""
    # The exit code is that of a regression if there is one.
    bad = [
        each for verdict in ("regression", "incomparable") for each in compared.comparisons if each.verdict == verdict
    ]
    named = [str(each) for each in bad if each.subject.startswith(cell)]
    return Answer(compared.exit_code, named[0] if named else "", elsewhere.exit_code)


def _compare(first: Sequence[StoredRun], second: Sequence[StoredRun]) -> ComparedSets:
    metrics = {metric.name: metric for metric in model_metrics() if isinstance(metric, PerTextMetric)}
    return compare_runs(first, second, metrics, exact=True)


def _of_other_machine(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """Returns the runs as if another machine had made them."""
    return [
        replace(run, record=run.record.model_copy(update={"environment": environment}))
        for run in runs
        for environment in [run.record.environment.model_copy(update={"processor": "another one"})]
    ]


def _cell(run: StoredRun) -> tuple[str, str]:
    return run.record.task, run.record.label


def _is_seen_in_speed(fault: Fault) -> bool:
    return isinstance(fault, CodeFault) and fault.seen_in == "speed"


def _time_steps(file: Path, package: Path | None = None, system: str | None = None) -> None:
    """Writes the benchmark file of the training speeds.

    Raises:
        RuntimeError: the benchmark fails.
    """
    if (code := measure_speed(file, package, system)) != 0:
        raise RuntimeError(f"{BENCHMARK} ends with exit code {code}")


def examine_all(folder: Path, faults: Sequence[Fault], jobs: int) -> Iterator[Finding]:
    """Yields the finding of each fault, ``jobs`` at a time but for those of speed, which run alone."""
    gate = Gate(folder)
    gate.prepare(faults)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(gate.examine, [fault for fault in faults if not _is_seen_in_speed(fault)])
    yield from map(gate.examine, filter(_is_seen_in_speed, faults))


def run_unchanged(folder: Path, jobs: int) -> Iterator[tuple[str, int, Sequence[Comparison]]]:
    """Runs the whole grid with unchanged code again and again, at last as on another machine.

    Yields:
        What was run, the exit code of the gate beside the first run, and what is not fine.
    """
    first = folder / "unchanged"
    run_grid(first, jobs=jobs)
    _time_steps(first / SPEED)
    for number in range(1, UNCHANGED + 1):
        again = folder / f"unchanged-{number}"
        run_grid(again, jobs=jobs)
        _time_steps(again / SPEED)
        speeds = compare_benchmarks(read_benchmark_file(first / SPEED), read_benchmark_file(again / SPEED))
        yield _verdict(f"unchanged, run {number}", _compare(load_runs([first]), load_runs([again])), speeds)
    run_grid(elsewhere := folder / "elsewhere", jobs=jobs, settings=OTHER_MACHINE)
    yield _verdict("unchanged, elsewhere", _compare(load_runs([first]), load_runs([elsewhere])))


def _verdict(title: str, *compared: ComparedSets) -> tuple[str, int, Sequence[Comparison]]:
    bad = [each for one in compared for each in one.comparisons if each.verdict not in ("ok", "unjudged")]
    return title, max(one.exit_code for one in compared), bad


HEAD = "| fault | exit code | elsewhere | line |\n| --- | ---: | ---: | --- |\n"


def row(finding: Finding) -> str:
    """Returns the row of a fault in the Markdown table."""
    said = re.sub(r"([|<>*_\[\]])", r"\\\1", finding.answer.line)
    return f"| {finding.fault.name} | {finding.answer.code} | {finding.answer.elsewhere} | {said} |\n"


def with_table(page: str, findings: Iterable[Finding], faults: Iterable[Fault] = FAULTS) -> str:
    """Returns the page with the rows of the findings between ``<!-- table: faults -->`` and ``<!-- end -->``.

    The rows of faults that were not examined stay; those of faults that there are no more are dropped.
    """
    rows = {finding.fault.name: row(finding) for finding in findings}
    return with_rows(page, "faults", HEAD, rows, (fault.name for fault in faults))

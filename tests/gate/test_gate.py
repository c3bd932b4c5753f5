from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.plan import plan
from bench.records.benchmarks import read_benchmark_file
from bench.records.schema import Record
from bench.records.store import RecordStore, load_runs
from bench.suites import load_suite
from bench.systems import SYSTEMS
from bench.tasks import TASKS
from tests.cli.cli_process import run_forked
from tests.gate import regress
from tests.gate.faults import FAULTS, CodeFault, Fault
from tests.gate.grid import BENCHMARK, NAME, REFERENCE, SPEED, SUITE, arguments
from tests.gate.study import HEAD, Answer, Finding, Gate, copy_packages, with_table
from tests.reference_records import needs_reference

PAGE = Path(__file__).parents[2] / "docs" / "regression-gate.md"
MICRO = Path(__file__).parents[1] / "cli" / "micro.yaml"
SOME = [fault for fault in FAULTS if fault.name in ("label smoothing left on", "version of a metric raised")]
OURS = {name for name, entry in SYSTEMS.entries().items() if entry.module.partition(".")[0] in ("della", "baselines")}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_packages(tmp_path_factory.mktemp("packages"))


def test_the_grid_has_every_system_on_an_unconditional_and_a_conditional_task() -> None:
    suite = load_suite(SUITE)
    assert set(suite.systems) == OURS
    assert {TASKS.get(task).kind for task in suite.tasks} == {"unconditional", "conditional"}
    assert len(suite.seeds) == 1


@needs_reference
def test_the_committed_records_are_of_the_present_grid() -> None:
    expected = {
        (spec.task.name, spec.system.label): spec.model_dump(mode="json") for spec in plan(load_suite(SUITE), NAME)
    }
    assert {(run.record.task, run.record.label): run.record.spec for run in load_runs([REFERENCE])} == expected


@needs_reference
def test_the_committed_speeds_are_of_every_system() -> None:
    names = {benchmark.name for benchmark in read_benchmark_file(REFERENCE / SPEED).benchmarks}
    assert names == {f"{BENCHMARK}[{system}]" for system in load_suite(SUITE).systems}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if isinstance(fault, CodeFault)], ids=lambda f: f.name)
def test_the_text_of_a_fault_stands_once_in_its_file(fault: CodeFault, packages: Path) -> None:
    """Where code was rewritten, rewrite the fault too."""
    path = packages / fault.file
    before = path.read_bytes()
    fault.inject(packages)
    assert path.read_bytes() != before
    if path.suffix == ".py":
        compile(path.read_bytes(), path, "exec")
    path.write_bytes(before)


@pytest.mark.parametrize("old", ["no such text", "import"])
def test_a_fault_whose_text_does_not_stand_once_is_refused(old: str, packages: Path) -> None:
    fault = CodeFault("a fault", 1, file="bench/batch.py", old=old, new="")
    with pytest.raises(ValueError, match="stands"):
        fault.inject(packages)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The gate at a micro size, with the runs of unchanged code."""

    def run(out: Path, package: Path | None = None, **part: Any) -> None:
        run_forked([*arguments(out, **part), "--jobs", "1"], out.parent, tmp_path_factory.mktemp("logs"), package)

    gate = Gate(tmp_path_factory.mktemp("gate"), str(MICRO), run)
    gate.prepare(SOME)
    return gate


def test_unchanged_code_passes(gate: Gate) -> None:
    nothing = CodeFault("nothing", 0, "lm", file="bench/batch.py", old='"""A batch of texts', new='"""A batch of Texts')
    assert gate.examine(nothing).answer == Answer(0, "", 0)


@pytest.mark.parametrize("fault", SOME, ids=lambda fault: fault.name)
def test_a_fault_is_noticed(fault: Fault, gate: Gate) -> None:
    finding = gate.examine(fault)
    assert finding.noticed, finding.answer
    assert finding.answer.elsewhere == fault.code


def test_the_page_has_the_present_faults_and_each_is_noticed() -> None:
    rows = PAGE.read_text(encoding="utf-8").partition("<!-- table: faults -->\n")[2].partition("<!-- end -->")[0]
    cells = [row.split(" | ")[:3] for row in rows.splitlines()[2:]]
    assert [name.removeprefix("| ") for name, *_ in cells] == [fault.name for fault in FAULTS]
    assert [int(code) for _, code, _ in cells] == [fault.code for fault in FAULTS]
    hidden = [name.removeprefix("| ") for name, _, elsewhere in cells if elsewhere == "0"]
    assert hidden == ["record and its SHA-256 edited: PPL 3 % lower"]  # smaller than the tolerance of PPL


def test_the_rows_of_the_page_are_in_the_order_of_the_faults_and_only_new_ones_change() -> None:
    first, second, third = FAULTS[:3]
    page = f"a\n<!-- table: faults -->\n{HEAD}| {third.name} | 1 | 1 | old |\n| gone | 1 | 1 | old |\n<!-- end -->\nz\n"
    findings = [Finding(second, Answer(3, "incomparable: c", 0)), Finding(first, Answer(1, "regression: a|b", 0))]
    rows = f"| {first.name} | 1 | 0 | regression: a\\|b |\n| {second.name} | 3 | 0 | incomparable: c |\n"
    rows += f"| {third.name} | 1 | 1 | old |\n"
    assert with_table(page, findings) == f"a\n<!-- table: faults -->\n{HEAD}{rows}<!-- end -->\nz\n"


@given(st.lists(st.sampled_from([-9, 0, 1, 2, 3, 137]), min_size=1))
def test_the_worst_exit_code(codes: list[int]) -> None:
    found = regress.worst(codes)
    if {-9, 2, 137} & {*codes}:
        assert found == 2
    else:
        assert found == next(code for code in (1, 3, 0) if code in codes)


@pytest.fixture
def write_results(make_record: Callable[..., Record]) -> Callable[[Path, int, float], None]:
    """Writes a record that is made at an hour, and a benchmark file with a ratio."""

    def write(folder: Path, hour: int, ratio: float) -> None:
        RecordStore(folder).write(make_record(created=f"2026-01-01T{hour:02}:00:00Z"))
        benchmark = {"fullname": "a step", "stats": {"median": ratio}, "extra_info": {"ratio": ratio}}
        content = {"machine_info": {"python_version": "3.11"}, "benchmarks": [benchmark]}
        (folder / SPEED).write_text(json.dumps(content))

    return write


@pytest.mark.parametrize(("ratio", "run", "code"), [(2.0, 0, 1), (1.001, 1, 1)])
def test_records_and_speeds_are_compared_in_one_command(
    ratio: float,
    run: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    write_results: Callable[[Path, int, float], None],
) -> None:
    reference, out, summary = tmp_path / "reference", tmp_path / "out", tmp_path / "summary.md"
    write_results(reference, 1, 1.0)
    write_results(out / "older", 2, 1.0)

    def run_grid(folder: Path, **options: object) -> int:
        assert not folder.exists()
        write_results(folder, 3, ratio)
        return run

    monkeypatch.setattr(regress, "run_grid", run_grid)
    monkeypatch.setattr(regress, "measure_speed", lambda file: 0)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert regress.main(reference, out) == code
    assert ("regression: a step ratio 1 -> 2" in capfd.readouterr().out) == (ratio == 2)
    assert summary.read_text().count("### Comparison") == 2


def test_without_the_committed_records_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert regress.main(tmp_path / "none", tmp_path / "out") == 2
    assert "part of the checkout only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""The runs under results/reference: made from a clean commit, without texts of data sets, and with their tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.records.doubts import training_ends
from bench.records.store import GENERATIONS, StoredRun, load_runs
from bench.report import build_table, narrow_layout, render_table
from bench.suites import load_suite
from tests.reference_records import REFERENCE, WHY_MISSING

if not REFERENCE.is_dir():
    pytest.skip(WHY_MISSING, allow_module_level=True)
RUNS = load_runs([REFERENCE])
TABLES = sorted(path.parent for path in REFERENCE.glob("*/table.md"))


def test_there_are_runs() -> None:
    assert RUNS


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.path.parts[-3]}/{run.path.parts[-2]}")
def test_a_run_names_its_commit_and_contains_only_generations_and_grammar_texts(run: StoredRun) -> None:
    record = run.record
    assert record.status == "finished"
    assert record.commit is not None
    assert record.dirty is False
    assert record.data.source == "grammar" or set(keys(run)) == {("text",)}


@pytest.mark.parametrize("form", ["md", "csv"])
@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_the_tables_are_what_the_records_render_to(folder: Path, form: str) -> None:
    """Folders are named ``suite-scale``."""
    suite = folder.name.rpartition("-")[0]
    runs, layout = load_runs([folder]), load_suite(suite).layout
    records = [run.record for run in runs]
    assert layout is not None
    table = build_table(records, narrow_layout(layout, records), ends=training_ends(runs))
    command = f"della-bench table results/reference/{folder.name} --layout {suite} --format {form}"
    assert (folder / f"table.{form}").read_text(encoding="utf-8") == render_table(table, form), (
        f"out of date; run: {command}"
    )


def keys(run: StoredRun) -> list[tuple[str, ...]]:
    lines = run.path.with_name(GENERATIONS).read_text(encoding="utf-8").splitlines()
    return [tuple(json.loads(line)) for line in lines]

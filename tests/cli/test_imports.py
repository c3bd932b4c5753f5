"""Verbs that read and print do not import torch, which takes longer than all they do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[1] / "records" / "historic" / "v1.json"

# Runs one verb after another and says after each which of the heavy packages are there.
PROGRAM = """
import contextlib, io, json, sys
from bench import cli
for line in json.load(sys.stdin):
    sys.argv = ["della-bench", *line]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            cli.main()
        except SystemExit as end:
            heavy = [name for name in ("torch", "transformers", "tokenizers", "pandas") if name in sys.modules]
            print(json.dumps([end.code, bool(printed.getvalue()), heavy]), file=sys.__stdout__)
"""

LIGHT = [
    [],
    ["--help"],
    ["run", "--help"],
    *(["table", "records", "--format", form] for form in ("md", "csv", "term", "latex", "html")),
    ["table", "records", "--layout", "table8"],
    *(["compare", "records", "again", "--exact", "--format", form] for form in ("term", "md", "json", "junit")),
    ["compare", "benchmark.json", "again.json"],
    ["compare", "records", "again", "--update", "--reason", "a test"],
    ["report", "records"],
    ["audit", "records"],
    ["status", "records"],
    ["audit", "--rules"],
    *(["list", kind] for kind in ("systems", "tasks", "objectives", "metrics", "suites", "scales")),
    ["show", "table8"],
    ["--version"],
    ["new", "system", "fresh"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "record.json").write_bytes(RECORD.read_bytes())
    (tmp_path / "again").mkdir()
    again = {**json.loads(RECORD.read_text()), "created": "2030-01-01T00:00:00Z"}
    (tmp_path / "again" / "record.json").write_text(json.dumps(again))
    for name, seconds in (("benchmark", 1.0), ("again", 2.0)):
        benchmark = {"fullname": "test_x", "stats": {"median": seconds}, "extra_info": {"ratio": 1.0}}
        benchmark_file = {"machine_info": {"python_version": "3.11"}, "benchmarks": [benchmark]}
        (tmp_path / f"{name}.json").write_text(json.dumps(benchmark_file))
    return tmp_path


def after(verbs: list[list[str]], folder: Path) -> list[list[object]]:
    """Returns exit code, whether anything was printed and the heavy packages that are loaded, after each verb."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(  # noqa: S603
        command, input=json.dumps(verbs), cwd=folder, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_verbs_that_print_import_no_torch(folder: Path) -> None:
    results = after(LIGHT, folder)
    assert len(results) == len(LIGHT)
    for verb, result in zip(LIGHT, results, strict=True):
        assert result == [0, True, []], verb


def test_mistakes_in_names_are_found_without_torch(folder: Path) -> None:
    mistakes = [
        ["run", "tabel1"],
        ["table", "nowhere"],
        ["list", "system"],
        ["show", "tabel1"],
        ["new", "system", "lm"],
    ]
    assert after(mistakes, folder) == [[2, False, []]] * len(mistakes)


def test_a_recorded_grid_imports_no_transformers(workplace: Path) -> None:
    """No stack is built; the import would take longer than all else."""
    command = ["run", "mine.yaml", "--scale", "micro.yaml", "--out", "out", "--jobs", "1"]
    (trained,), (recorded,) = after([command], workplace), after([command], workplace)
    assert trained[:2] == recorded[:2] == [0, True]
    assert ["transformers" in str(heavy) for _, _, heavy in (trained, recorded)] == [True, False]


def test_verbs_that_build_systems_import_torch(folder: Path) -> None:
    """Else the test above would not know torch if it met it."""
    ((code, printed, heavy),) = after([["show", "lm"]], folder)
    assert (code, printed) == (0, True)
    assert isinstance(heavy, list)
    assert "torch" in heavy

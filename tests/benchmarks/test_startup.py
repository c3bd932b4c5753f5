"""Start-up of the command and of the package: whole processes, from nothing to their exit, beside others."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.schema import Record
from bench.records.store import RecordStore, load_runs
from tests.benchmarks.figures import Beside

SCRIPT = str(Path(sys.executable).with_name("della-bench"))
EXAMPLE = Path(__file__).parents[1] / "records" / "historic" / "v1.json"
LABELS, TASKS = ("lm", "embed", "memory", "softmax", "della", "della-2022"), ("ptb", "snli")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records of six systems on two tasks."""
    store = RecordStore(tmp_path_factory.mktemp("records"))
    for task in TASKS:
        for label in LABELS:
            content = json.loads(EXAMPLE.read_text())
            content["spec"]["system"]["label"], content["spec"]["task"]["name"] = label, task
            content["data"] |= {"task": task, "title": task.upper()}
            content["run_id"] = hashlib.sha256(f"{task} {label}".encode()).hexdigest()[:12]
            store.write(Record.model_validate(content))
    assert len(load_runs([store.root])) == 12
    return store.root


def process(*command: str) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)  # noqa: S603


def python(program: str) -> Callable[[], object]:
    return process(sys.executable, "-c", program)


# Imports that a table stands on: of the command, the schema of records, the layouts, the statistics.
FLOOR = "import numpy, pydantic, typer, yaml"


@pytest.mark.parametrize("program", ["pass", "import torch"])
def test_help(beside: Beside, program: str) -> None:
    beside(process(SCRIPT, "--help"), python(program), at_most={"pass": 15.0, "import torch": 0.1}[program])


@pytest.mark.parametrize("program", ["pass", "import torch"])
def test_import(beside: Beside, program: str) -> None:
    beside(python("import bench"), python(program), at_most={"pass": 1.5, "import torch": 0.02}[program])


@pytest.mark.parametrize("form", ["term", "md", "csv"])
def test_table_of_twelve_records(beside: Beside, records: Path, form: str) -> None:
    beside(process(SCRIPT, "table", str(records), "--format", form), python(FLOOR), at_most=3.0, records=12)


def test_table_in_the_layout_of_a_paper(beside: Beside, records: Path) -> None:
    beside(process(SCRIPT, "table", str(records), "--layout", "table8"), python(FLOOR), at_most=3.0, records=12)

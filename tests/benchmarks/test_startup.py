"""Start-up of the command and of the package: whole processes, from nothing to their exit.

The best of the rounds is held against the limit, so that a busy machine fails no run; medians are in ``extra_info``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.records.schema import Record
from bench.records.store import RecordStore

SCRIPT = str(Path(sys.executable).with_name("della-bench"))
EXAMPLE = Path(__file__).parents[1] / "records" / "historic" / "v1.json"
LABELS, TASKS = ("lm", "embed", "memory", "softmax", "della", "della-2022"), ("ptb", "snli")
ROUNDS = 7


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
    assert len(store.read_all()) == 12
    return store.root


def hold(benchmark: BenchmarkFixture, command: Sequence[str], limit: float) -> None:
    """Times a command and checks the seconds of its best round."""
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True),  # noqa: S603
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    benchmark.extra_info |= {"median seconds": benchmark.stats.stats.median, "limit in seconds": limit}
    assert benchmark.stats.stats.min < limit


def test_help(benchmark: BenchmarkFixture) -> None:
    hold(benchmark, [SCRIPT, "--help"], 0.3)


def test_import(benchmark: BenchmarkFixture) -> None:
    hold(benchmark, [sys.executable, "-c", "import bench"], 0.3)


@pytest.mark.parametrize("form", ["term", "md", "csv"])
def test_table_of_twelve_records(benchmark: BenchmarkFixture, records: Path, form: str) -> None:
    hold(benchmark, [SCRIPT, "table", str(records), "--format", form], 1.0)


def test_table_in_the_layout_of_a_paper(benchmark: BenchmarkFixture, records: Path) -> None:
    hold(benchmark, [SCRIPT, "table", str(records), "--layout", "table8"], 1.0)

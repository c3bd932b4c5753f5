from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.records.store import CURVE, GENERATIONS, RECORD

REFERENCE = Path(__file__).parents[2] / "results" / "reference"

Change = Callable[[dict[str, Any]], None]


def copy_run(source: Path, folder: Path, change: Change) -> Path:
    """Copies a run of the repository into ``folder`` with its record changed; returns the folder of the run."""
    content = json.loads((source / RECORD).read_text(encoding="utf-8"))
    content.pop("sha256", None)
    content["files"] = {}
    change(content)
    spec = content["spec"]
    key = f"{spec['task']['name']} {spec['system']['label']} {spec['seed']}"
    content["run_id"] = hashlib.sha256(key.encode()).hexdigest()[:12]
    run = folder / content["run_id"]
    run.mkdir(parents=True)
    (run / RECORD).write_text(json.dumps(content), encoding="utf-8")
    for name in (CURVE, GENERATIONS):
        shutil.copy(source / name, run)
    return run


def some_run(of: str) -> Path:
    """A run of the reference records, for example ``table8-small/ptb.della.``."""
    return next(iter(sorted(REFERENCE.glob(f"{of}*"))))


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 300 runs, each with a row of its own."""
    folder = tmp_path_factory.mktemp("many")
    source = some_run("regress/ptb.della.")

    def renamed(number: int) -> Change:
        def change(content: dict[str, Any]) -> None:
            task, label = f"task{number % 10}", f"della:latent_size={number // 10 + 1}"
            content["spec"]["system"]["label"], content["spec"]["task"]["name"] = label, task
            content["data"].update(task=task, title=task.title())

        return change

    for number in range(300):
        copy_run(source, folder, renamed(number))
    return folder

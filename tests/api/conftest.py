from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import bench

SCALE: dict[str, Any] = {
    "limits": {"train": 40, "valid": 8, "test": 12},
    "max_tokens": 100,
    "max_source_tokens": 60,
    "tokenizer": {"vocabulary_size": 280},
    "backbone": {"layers": 3, "width": 16, "heads": 2, "positions": 160, "dropout": 0.1},
    "training": {"epochs": 2, "batch_tokens": 256},
    "scoring": {"n_importance_samples": 4, "batch_tokens": 512, "bootstrap_samples": 20, "n_generations": 3},
    "decoding": {"max_tokens": 8},
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of trained models, made by ``bench.run``: four of an unconditional task, two of a conditional one."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "micro.yaml").write_text(yaml.safe_dump(SCALE))
    for systems, task in ((["lm", "embed", "della", "optimus"], "snli"), (["embed", "della"], "quora")):
        bench.run("all", str(folder / "micro.yaml"), out=folder / "out", systems=systems, tasks=[task])
    return folder / "out"

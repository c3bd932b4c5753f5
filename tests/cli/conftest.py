from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.cli_process import Finished, run_forked

SCALE: dict[str, Any] = {
    "description": "seconds",
    "limits": {"train": 24, "valid": 8, "test": 12},
    "max_tokens": 128,
    "tokenizer": {"vocabulary_size": 280},
    "backbone": {"layers": 1, "width": 16, "heads": 2, "positions": 128, "dropout": 0.1},
    "training": {"epochs": 1, "batch_tokens": 256},
    "scoring": {"n_importance_samples": 2, "batch_tokens": 512, "bootstrap_samples": 20, "n_generations": 2},
    "decoding": {"max_tokens": 8},
}
SUITE: dict[str, Any] = {"title": "Two systems on captions", "systems": ["lm", "embed"], "tasks": ["snli"]}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a suite ``mine.yaml`` and a scale ``micro.yaml``, as a user would have it."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(SUITE))
    (folder / "micro.yaml").write_text(yaml.safe_dump(SCALE))
    return folder


@pytest.fixture
def della_bench(_own_cache: None, workplace: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Runs the command in the workplace."""
    logs = tmp_path / "logs"
    logs.mkdir()
    return lambda *arguments: run_forked(list(map(str, arguments)), workplace, logs)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.cli_process import Finished, run_forked

SCALE = Path(__file__).with_name("micro.yaml")
SUITE: dict[str, Any] = {"title": "Two systems on captions", "systems": ["lm", "embed"], "tasks": ["snli"]}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a suite ``mine.yaml`` and a scale ``micro.yaml``, as a user would have it."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(SUITE))
    (folder / "micro.yaml").write_bytes(SCALE.read_bytes())
    return folder


@pytest.fixture
def della_bench(_own_cache: None, workplace: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Runs the command in the workplace."""
    logs = tmp_path / "logs"
    logs.mkdir()
    return lambda *arguments: run_forked(list(map(str, arguments)), workplace, logs)

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.bootstrap import Interval
from bench.metric import Score
from bench.records.schema import Record

EXAMPLE = Path(__file__).parents[1] / "records" / "historic" / "v1.json"


@pytest.fixture
def make_score() -> Callable[..., Score]:
    """Makes a score with the setting ``est`` in its signature."""

    def make(
        name: str,
        value: float,
        half_width: float | None = None,
        *,
        direction: Any = "down",
        unit: str = "1",
        n: int = 200,
        est: str = "iw",
    ) -> Score:
        interval = None if half_width is None else Interval(value - half_width, value + half_width)
        return Score(name, value, unit, direction, n, f"{name}|est:{est}|n:{n}|v:1", 0.02, interval)

    return make


@pytest.fixture
def make_run() -> Callable[..., Record]:
    """Makes a record from the historic one; its id depends on task, label, scale and seed."""

    def make(
        label: str, task: str = "ptb", seed: int = 0, scores: Iterable[Score] = (), scale: str = "smoke", **changes: Any
    ) -> Record:
        content = json.loads(EXAMPLE.read_text())
        content["spec"]["system"]["label"] = label
        content["spec"]["task"]["name"] = task
        content["spec"].update(seed=seed, scale=scale)
        content["data"].update(
            task=task, title=task.upper(), sha256=hashlib.sha256(task.encode()).hexdigest(), notes=[]
        )
        content["run_id"] = hashlib.sha256(f"{task} {label} {scale} {seed}".encode()).hexdigest()[:12]
        content["metrics"] = [vars(score) for score in scores]
        content["skipped"] = []
        return Record.model_validate({**content, **changes})

    return make

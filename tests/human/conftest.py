from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.human import Study, draw_study
from bench.human.ratings import ITEM, RATER
from bench.human.sheets import write_study
from bench.records.store import GENERATIONS, StoredRun, load_runs
from tests.page.conftest import copy_run, some_run

CRITERIA = ("Fluency", "Coherence", "Novelty")
LABELS = ("lm", "embed", "della")


@pytest.fixture
def runs(tmp_path: Path) -> list[StoredRun]:
    """Three systems on two tasks; each text names its system and its place, each source its place."""
    for task in ("ptb", "quora"):
        for label in LABELS:
            folder = copy_run(some_run(f"regress/{task}.{label}."), tmp_path / "runs", lambda content: None)
            rows = [
                {"text": f"<b>{label}</b> {place}", **({"source": f"=source {place}"} if task == "quora" else {})}
                for place in range(20)
            ]
            (folder / GENERATIONS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return load_runs([tmp_path / "runs"])


@pytest.fixture
def study(runs: Sequence[StoredRun]) -> Study:
    return draw_study(runs, texts=4, criteria=CRITERIA, raters=2, seed=7)


@pytest.fixture
def folder(study: Study, tmp_path: Path) -> Path:
    """The written study."""
    write_study(study, tmp_path / "study")
    return tmp_path / "study"


Fill = Callable[..., Path]


@pytest.fixture
def fill(folder: Path, study: Study) -> Fill:
    """Writes ratings into the sheet of a rater: ``rating(item, criterion)``, or what ``change`` makes of the rows."""

    def fill(
        rater: str,
        rating: Callable[[Any, str], object] = lambda item, criterion: 3,
        change: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    ) -> Path:
        items = {item.name: item for item in study.key.items}
        path = folder / "sheets" / f"{rater}.csv"
        rows: list[dict[str, Any]] = [
            {RATER: rater, ITEM: name, **{criterion: rating(item, criterion) for criterion in CRITERIA}}
            for name, item in items.items()
        ]
        change(rows)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(buffer.getvalue())
        return path

    return fill

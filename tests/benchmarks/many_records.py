"""Two sets of many plausible records: real ones of this repository under other labels, tasks and seeds.

``python -m tests.benchmarks.many_records FOLDER`` writes sets of 2,000 records to time commands by hand.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from bench.records.store import RECORD, STATISTICS

EXAMPLE = next((Path(__file__).parents[2] / "results" / "reference" / "table8-small").glob("ptb.della.*")) / RECORD
TASKS, SEEDS = 10, 5
TEXTS = 200
"""Texts with statistics in each record, as at the scale ``smoke``."""


def write_many_records(folder: Path, count: int, moved: float = 0.0, seed: int = 0) -> None:
    """Writes ``count`` records with statistics: of up to 10 tasks and 5 seeds, and as many labels as that takes.

    Args:
        folder: is created.
        count: number of records.
        moved: relative difference of all values to those of a set with ``moved=0``.
        seed: of the values; sets of one seed differ only by ``moved``.
    """
    text = EXAMPLE.read_text(encoding="utf-8")
    rng = np.random.default_rng(seed)
    with np.load(EXAMPLE.with_name(STATISTICS)) as arrays:
        rows = {name: arrays[name][:TEXTS] for name in arrays.files}
    for label, task, run_seed in islice(_keys(count), count):
        content = json.loads(text)
        factor = rng.normal(1.0, 0.01) * (1.0 + moved)
        content["run_id"] = hashlib.sha256(f"{label} {task} {run_seed}".encode()).hexdigest()[:12]
        content.pop("sha256", None)
        content["files"] = {}
        content["created"] = f"2026-01-0{2 if moved else 1}T00:00:00Z"
        spec = content["spec"]
        spec["system"]["label"], spec["task"]["name"], spec["seed"] = label, task, run_seed
        content["data"] |= {"task": task, "title": task.upper()}
        for score in content["metrics"]:
            if score["unit"] != "count":
                _scale(score, factor)
        run = folder / f"{task}.{label}.s{run_seed}.{content['run_id']}"
        run.mkdir(parents=True)
        scaled = {name: np.column_stack([values[:, :1] * factor, values[:, 1:]]) for name, values in rows.items()}
        np.savez_compressed(run / STATISTICS, **scaled)
        (run / RECORD).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _keys(count: int) -> Iterator[tuple[str, str, int]]:
    labels = -(-count // (TASKS * SEEDS))
    return product(
        (f"della+cyclical:{number + 1}" for number in range(labels)), (f"task{n}" for n in range(TASKS)), range(SEEDS)
    )


def _scale(score: dict[str, Any], factor: float) -> None:
    score["value"] *= factor
    if score["interval"]:
        for end in ("low", "high"):
            score["interval"][end] *= factor


if __name__ == "__main__":
    for name, shift in (("first", 0.0), ("second", 0.001), ("worse", 0.1)):
        write_many_records(Path(sys.argv[1]) / name, 2_000, shift)

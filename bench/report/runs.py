"""The runs of a table: those that its layout names, at one scale; and the scores that can share a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.errors import BenchError
from bench.metric import Signature
from bench.records.schema import Record, RecordedScore
from bench.specs import NO_IDENTITY
from bench.suites import Layout

_DIFFERENCES_WITHIN_CELL = frozenset({"seed", *(".".join(entry) for entry in NO_IDENTITY)})
"""Entries of a spec in which the runs of one cell may differ: the seed, and what cannot change a result."""


@dataclass(frozen=True)
class ScoreConditions:
    """The conditions under which a score was measured; scores under different conditions are not comparable."""

    signature: str
    n_texts: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.signature} on {self.n_texts} texts of data {self.sha256[:12]}"

    def as_dict(self) -> dict[str, str]:
        """Returns the conditions one by one, with those that the signature lists."""
        signature = Signature.parse(self.signature)
        others = {"v": str(signature.version), "texts": str(self.n_texts), "data": self.sha256[:12]}
        return {**dict(signature.fields), **others}


@dataclass(frozen=True)
class RunsOfTable:
    """The runs that a layout names, by task and label, all of one scale."""

    by_cell: Mapping[tuple[str, str], Sequence[Record]]
    scale: str
    split: str

    @classmethod
    def select(cls, records: Sequence[Record], layout: Layout) -> RunsOfTable:
        """Selects the runs.

        Raises:
            BenchError: no run fits, runs have different scales, or runs of a cell differ in more than the seed.
        """
        by_cell: dict[tuple[str, str], list[Record]] = {
            (task.name, row.label): [] for task in layout.tasks for row in layout.rows
        }
        for record in records:
            if (record.task, record.label) in by_cell:
                by_cell[record.task, record.label].append(record)
        scales = sorted({record.scale for cell in by_cell.values() for record in cell})
        if not scales:
            labels, tasks = ", ".join(row.label for row in layout.rows), ", ".join(task.name for task in layout.tasks)
            raise BenchError(f"no record fits the layout: looked for {labels} on {tasks}")
        if len(scales) > 1:
            raise BenchError(f"records of several scales ({', '.join(scales)}) do not share a table; choose one")
        for cell in by_cell.values():
            _check_equal_but_seed(cell)
        return cls(by_cell, scales[0], layout.split)

    def of_task(self, task: str) -> list[Record]:
        """Returns all runs of a task."""
        return [record for (name, _), cell in self.by_cell.items() if name == task for record in cell]

    def scores(self, record: Record, metric: str) -> dict[ScoreConditions, RecordedScore]:
        """Returns the scores of a finished run for a metric."""
        scores = [s for s in record.metrics if (s.name, s.split) == (metric, self.split)]
        return {ScoreConditions(s.signature, s.n, record.data.sha256): s for s in scores if record.status == "finished"}


def _check_equal_but_seed(cell: Sequence[Record]) -> None:
    """Raises unless the runs of a cell have different seeds and are otherwise equal in all that determines a result."""
    for a, b in pairwise(sorted(cell, key=lambda record: record.seed)):
        runs = f"{a.task} {a.label}: runs {a.run_id} and {b.run_id}"
        if a.seed == b.seed:
            raise BenchError(f"{runs} both have seed {a.seed}")
        first, second = (dict(_flatten({"spec": run.spec, "components": run.components})) for run in (a, b))
        for key in sorted(first.keys() | second.keys()):
            if first.get(key) != second.get(key) and key.removeprefix("spec.") not in _DIFFERENCES_WITHIN_CELL:
                raise BenchError(f"{runs} differ in {key} ({first.get(key)} and {second.get(key)})")


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

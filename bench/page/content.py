"""What the script of the page reads: rows with their cells, runs with curves and latent groups, generations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.records.store import StoredRun
from bench.report import MAIN_METRICS
from bench.report.grids import ENTROPY_ROW, GridRow
from bench.report.series import known_entropy, latent_groups, latent_layers, learning_curve, test_scores
from bench.report.table import Cell, ColumnHeader

CHARACTERS = 600_000
"""Most characters of generations in a page, shared equally between its rows."""

POINTS = 12_000
"""Most points of learning curves in a page, shared equally between its runs."""

MOST_POINTS = 80
"""Most points of one learning curve."""

MOST_TEXTS = 50
"""Most generations of a row."""

LONGEST_TEXT = 600
"""Characters of a generation, source or reference that are shown."""

DIGITS = 6
"""Significant digits of the numbers in the page."""


@dataclass(frozen=True)
class Column:
    """A column of scores: its heading, and whether it is shown before anybody chooses."""

    header: ColumnHeader
    is_main: bool


def columns_of(rows: Sequence[GridRow]) -> list[Column]:
    """Returns the columns of all rows: the main metrics first, then the others by name."""
    headers = {header.text: header for row in rows for header, cell in row.cells if cell.state != "missing"}
    order = {name: place for place, name in enumerate(MAIN_METRICS)}
    found = sorted(headers.values(), key=lambda header: (order.get(header.metric, len(order)), header.text))
    return [Column(header, header.metric in order) for header in found]


@dataclass
class _Strings:
    """Texts that occur often, by number."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def content_of(rows: Sequence[GridRow], columns: Sequence[Column]) -> dict[str, Any]:
    """Returns all that the script reads, as JSON-ready values.

    Raises:
        BenchError: a curve or the generations of a run are damaged.
    """
    strings = _Strings()
    places = {column.header.text: number for number, column in enumerate(columns)}
    panels: dict[tuple[int, str], dict[str, Any]] = {}
    characters = CHARACTERS // max(1, sum(bool(row.runs) for row in rows))
    points = max(2, min(MOST_POINTS, POINTS // max(1, sum(len(row.runs) for row in rows))))
    described = []
    for row in rows:
        if (place := (id(row.grid), row.task[0])) not in panels:
            panels[place] = _panel(row, len(panels), rows, strings, places)
        cells = {places[header.text]: _cell(row, cell, strings) for header, cell in row.cells if _says(cell)}
        runs = [_run(run, points) for run in sorted(row.runs, key=lambda run: run.record.seed)]
        texts = _texts(row.runs, characters)
        described.append({"panel": panels[place]["number"], **_row(row), "cells": cells, "runs": runs, "texts": texts})
    return {
        "columns": [_column(column) for column in columns],
        "panels": list(panels.values()),
        "rows": described,
        "strings": list(strings.numbers),
    }


def _row(row: GridRow) -> dict[str, Any]:
    return {
        "title": row.title,
        "label": row.label,
        "system": row.system,
        "objective": row.objective,
        "is_entropy": row.label == ENTROPY_ROW,
        "seconds": _short(row.seconds),
        "memory": row.peak_memory,
        "parameters": row.parameters,
        "notes": list(row.footnotes),
        "printed": {
            metric: [figure.value, figure.printed, figure.note, f"{figure.citation}, {figure.table}, {figure.dataset}"]
            for metric, figure in row.published_of.items()
        },
    }


def _column(column: Column) -> dict[str, Any]:
    header = column.header
    return {"text": header.text, "metric": header.metric, "direction": header.direction, "unit": header.unit}


def _panel(
    row: GridRow, number: int, rows: Sequence[GridRow], strings: _Strings, places: Mapping[str, int]
) -> dict[str, Any]:
    """Returns a task of a grid: its names, the entropy of its texts, and signature and texts of each column."""
    of_task = [run.record for other in rows if other.grid is row.grid and other.task == row.task for run in other.runs]
    entropy = known_entropy(of_task)
    return {
        "number": number,
        "grid": row.grid.name,
        "task": row.task[1],
        "entropy": _short(entropy.value) if entropy else None,
        "measured": {
            places[header.text]: [strings.number(header.signature), header.n_texts]
            for header, _ in row.cells
            if header.text in places and header.signature
        },
    }


def _says(cell: Cell) -> bool:
    """Says whether there is something to tell about a cell besides that there was no run or score."""
    return cell.state != "missing" and (cell.value is not None or bool(cell.footnotes))


def _cell(row: GridRow, cell: Cell, strings: _Strings) -> list[Any]:
    """Returns value, low, high, method, seeds, footnotes, and runs if not all of the row; cut at the last None."""
    interval = cell.interval
    others = {run.record.run_id for run in row.runs} != set(cell.run_ids)
    entries = [
        _short(cell.value),
        *((_short(interval.low), _short(interval.high)) if interval else (None, None)),
        strings.number(f"{interval.level:.0%}, {interval.method}") if interval else None,
        cell.n_seeds or None,
        [strings.number(text) for text in cell.footnotes] or None,
        strings.number(", ".join(cell.run_ids)) if cell.run_ids and others else None,
    ]
    while entries[-1] is None:
        entries.pop()
    return entries


def _run(run: StoredRun, points: int) -> dict[str, Any]:
    record = run.record
    scores = test_scores(record)
    curve, layers = learning_curve(run, points), latent_layers(record)
    return {
        "id": record.run_id,
        "seed": record.seed,
        "status": record.status,
        "scores": {name: _short(scores[name].value) for name in ("PPL", "KL", "Rec", "ELBO") if name in scores},
        "layers": [layers.count, layers.series] if layers else None,
        "groups": [[g.number, _short(g.kl), _short(g.active_units), _short(g.size)] for g in latent_groups(record)],
        "curve": {"step": list(curve.steps), **{name: [*map(_short, of)] for name, of in curve.values.items()}}
        if curve
        else None,
    }


def _texts(runs: Sequence[StoredRun], characters: int) -> dict[str, Any] | None:
    """Returns the first generations of the first run that has some, and how many characters allow."""
    for run in sorted(runs, key=lambda run: run.record.seed):
        shown: list[dict[str, str]] = []
        for row in run.generations(MOST_TEXTS):
            text = {name: _cut(row.get(name)) for name in ("text", "source", "reference") if _is_text(row, name)}
            characters -= sum(len(part.encode("ascii", "backslashreplace")) + 12 for part in text.values())
            if characters < 0:
                break
            shown.append(text)
        if shown:
            return {"seed": run.record.seed, "shown": shown}
    return None


def _is_text(row: Any, name: str) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get(name), str)


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _short(value: float | None) -> float | None:
    """Returns a number with ``DIGITS`` significant digits; None of one that is not finite."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None

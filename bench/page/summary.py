"""The first screen of the page: which system leads on which task, whether that is certain, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.bootstrap import Interval
from bench.report.build import covers_texts
from bench.report.grids import ENTROPY_ROW, GridRow
from bench.report.table import Cell, ColumnHeader

QUESTIONS = {
    "PPL": "predicts texts best",
    "MI": "uses its latent variables most",
    "MAUVE": "writes most like the texts",
}
"""Metric to what its best value means."""

MOST_NAMED = 2
"""Systems that a remark names."""

_BETTER = {"up": 1.0, "down": -1.0}


@dataclass(frozen=True)
class Leader:
    """The row with the best value of a metric.

    Attributes:
        title: its system.
        value: with spread.
        is_separated: whether its interval over texts meets that of no other system.
        remark: if not, why nobody can say that it is the best.
        seconds: mean seconds of one of its runs, if known.
        peak_memory: bytes, if known.
    """

    title: str
    value: str
    is_separated: bool
    remark: str
    seconds: float | None
    peak_memory: int | None


@dataclass(frozen=True)
class SummaryLine:
    """The leaders on one task of one grid, one per question, None where nothing was measured."""

    grid: str
    task: str
    leaders: tuple[Leader | None, ...]
    n_rows: int
    n_runs: int
    seconds: float


def summary_lines(rows: Sequence[GridRow]) -> Iterator[SummaryLine]:
    """Yields a line per task of each grid."""
    places: dict[tuple[int, str], list[GridRow]] = {}
    for row in rows:
        if row.label != ENTROPY_ROW:
            places.setdefault((id(row.grid), row.task[0]), []).append(row)
    for of_task in places.values():
        leaders = tuple(_leader(of_task, metric) for metric in QUESTIONS)
        records = [run.record for row in of_task for run in row.runs]
        seconds = sum(timing.seconds for record in records for timing in record.timings)
        first = of_task[0]
        yield SummaryLine(first.grid.name, first.task[1], leaders, len(of_task), len(records), seconds)


def _leader(rows: Sequence[GridRow], metric: str) -> Leader | None:
    """Returns the best row; None without values, or if these have different signatures and do not compare."""
    found: list[tuple[GridRow, ColumnHeader, Cell]] = [
        (row, header, cell)
        for row in rows
        for header, cell in row.cells
        if header.metric == metric and cell.value is not None
    ]
    if not found or len({header.text for _, header, _ in found}) > 1 or found[0][1].direction is None:
        return None
    sign = _BETTER[found[0][1].direction]
    row, _, best = max(found, key=lambda entry: sign * (entry[2].value or 0.0))
    return Leader(row.title, best.text, best.bold, _remark(best, found), row.seconds, row.peak_memory)


def _remark(best: Cell, found: Sequence[tuple[GridRow, ColumnHeader, Cell]]) -> str:
    if best.bold:
        return ""
    if best.doubts:
        return best.doubts[0]
    if len(found) == 1:
        return "the only one measured"
    if best.interval is None or not covers_texts(best.interval):
        return "no interval over texts"
    others = [row.title for row, _, cell in found if cell is not best and _meet(best.interval, cell.interval)]
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return f"not separated from {'; '.join(others[:MOST_NAMED])}{more}"


def _meet(a: Interval, b: Interval | None) -> bool:
    """Says whether two intervals overlap; a value without interval over texts may be anywhere."""
    return b is None or not covers_texts(b) or (a.low <= b.high and b.low <= a.high)

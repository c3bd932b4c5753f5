"""A table as CSV: a line per cell, unrounded, with interval, signature and the runs behind it."""

from __future__ import annotations

import csv
import io

from bench.report.table import Cell, ColumnGroup, HeaderCell, Row, Table


def render(table: Table) -> str:
    """Returns a header line and a line per cell; what is missing is empty."""
    buffer = io.StringIO()
    lines = [
        _line(table, row, group, column, cell)
        for row in table.rows
        for (group, column), cell in zip(table.columns, row.cells, strict=True)
    ]
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _line(table: Table, row: Row, group: ColumnGroup, column: HeaderCell, cell: Cell) -> dict[str, object]:
    interval, published = cell.interval, cell.published
    return {
        "scale": table.scale,
        "task": group.task,
        "system": row.label,
        "metric": column.metric,
        "column": column.text,
        "unit": column.unit,
        "direction": column.direction,
        "state": cell.state,
        "value": cell.value,
        "sd": cell.sd,
        "n_seeds": cell.n_seeds,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "half_width": interval and (interval.high - interval.low) / 2,
        "bold": cell.bold,
        "n_texts": column.n_texts,
        "signature": None if cell.state == "floor" else column.signature,
        "published": published and published.printed,
        "published_source": published and f"{published.key} {published.table}",
        "remarks": "; ".join(cell.footnotes),
        "run_ids": " ".join(cell.run_ids),
    }

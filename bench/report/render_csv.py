"""A table as CSV: one line per cell, values not rounded, with interval, signature and runs."""

from __future__ import annotations

import csv
import io

from bench.escape import csv_cell
from bench.report.table import Cell, ColumnGroup, ColumnHeader, Table, TableRow


def render_csv(table: Table) -> str:
    """Returns a header line and one line per cell; missing values are empty."""
    buffer = io.StringIO()
    lines = [
        _line(table, row, group, column, cell)
        for row in table.rows
        for (group, column), cell in zip(table.columns, row.cells, strict=True)
    ]
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in lines)
    return buffer.getvalue()


def _line(table: Table, row: TableRow, group: ColumnGroup, column: ColumnHeader, cell: Cell) -> dict[str, object]:
    interval, published = cell.interval, cell.published
    remarks = (*row.footnotes.get(group.task, ()), *cell.footnotes, cell.published_note)
    return {
        "scale": table.scale,
        "task": group.task,
        "system": row.label,
        "metric": column.metric,
        "column": column.text,
        "unit": column.unit,
        "direction": column.direction,
        "state": "floor" if cell.state == "entropy" else cell.state,
        "value": cell.value,
        "sd": cell.sd,
        "n_seeds": cell.n_seeds,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "half_width": interval and (interval.high - interval.low) / 2,
        "level": interval and interval.level,
        "method": interval and interval.method,
        "bold": cell.bold,
        "n_texts": column.n_texts,
        "signature": None if cell.state == "entropy" else column.signature,
        "published": published and published.printed,
        "published_source": published and f"{published.key} {published.table}",
        "remarks": "; ".join(filter(None, remarks)),
        "run_ids": " ".join(cell.run_ids),
    }

"""A table for the terminal: one block per task; bold is an ANSI attribute."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from bench.report.table import Cell, Table

_MAX_WIDTH = 10_000


def render_terminal(table: Table) -> str:
    """Returns the blocks, then footnotes, notes and signatures; lines are not wrapped."""
    console = Console(
        file=io.StringIO(), width=_MAX_WIDTH, force_terminal=True, color_system="standard", highlight=False
    )
    with console.capture() as capture:
        for block in _blocks(table):
            width = Measurement.get(console, console.options, block).maximum
            console.print(block, width=width)
        for line in _footer(table):
            console.out(line)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _blocks(table: Table) -> Iterator[RichTable]:
    start = 0
    for group in table.column_groups:
        block = RichTable(title=": ".join(filter(None, (table.title, group.title))), box=box.SIMPLE_HEAD)
        block.add_column()
        for column in group.columns:
            block.add_column(Text(column.caption), justify="right")
        stop = start + len(group.columns)
        for row in table.rows:
            block.add_row(Text(row.title), *(_cell(table, cell) for cell in row.cells[start:stop]))
        start = stop
        yield block


def _cell(table: Table, cell: Cell) -> Text:
    suffix = "".join(f" {text}" for text in (cell.published_text, table.markers(cell)) if text)
    return Text.assemble((cell.text, "bold" if cell.bold else ""), suffix)


def _footer(table: Table) -> Iterator[str]:
    yield from (f"{marker}  {text}" for text, marker in table.footnotes.items())
    yield from ("", *table.notes, "", *(f"{line.signature} ({line.titles})" for line in table.signatures))

"""A table for the terminal: one block per task, split where it would be wider; bold is an ANSI attribute."""

from __future__ import annotations

import io
import shutil
import textwrap
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench import escape
from bench.escape import one_line
from bench.report.signatures import shortened
from bench.report.table import Block, PrintedCell, Table

_GAP, _EDGES = 3, 4
_LEAST_WIDTH = 40


def render_terminal(table: Table) -> str:
    """Returns the blocks, then footnotes, notes and signatures, as wide as the terminal; without one, 80 characters."""
    width = max(shutil.get_terminal_size().columns, _LEAST_WIDTH)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard", highlight=False)
    with console.capture() as capture:
        for block in table.blocks():
            title = ": ".join(filter(None, (table.title, block.group.title)))
            console.print(Text(one_line(title), "bold"))
            for part in block.split(width - _EDGES, _GAP):
                console.print(_rich_table(part, width - _EDGES))
        for line in _footer(table):
            console.out(
                "\n".join(textwrap.wrap(escape.line(" ".join(line.splitlines())), width, subsequent_indent="   "))
            )
    return "\n".join(line.rstrip() for line in capture.get().split("\n"))


def _rich_table(block: Block, width: int) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD)
    first = block.title_width(width)
    widths = [block.column_width(number) for number in range(len(block.columns))]
    captions = [one_line(column.caption) for column in block.columns]
    whole = [max(needed, len(caption)) for needed, caption in zip(widths, captions, strict=True)]
    if first + sum(wide + _GAP for wide in whole) <= width:
        widths = whole  # captions in one line
    table.add_column(width=first)
    for caption, needed in zip(captions, widths, strict=True):
        table.add_column(Text(caption), justify="right", width=needed)
    for line in block.lines:
        if line.begins_published:
            table.add_section()
        table.add_row(_text(line.title), *map(_text, line.cells))
    return table


def _text(cell: PrintedCell) -> Text:
    return Text.assemble((one_line(cell.text), "bold" if cell.bold else ""), f" {cell.markers}".rstrip())


def _footer(table: Table) -> Iterator[str]:
    if table.footnotes:
        yield ";  ".join(f"{marker} {text}" for text, marker in table.footnotes.items()) + "."
    yield from ("", *table.notes, *table.data)
    if table.signatures:
        yield f"Signatures, in full with --format csv: {shortened(table.signatures)}."

"""A table as GitHub Markdown: one table per task, then notes; data and signatures can be unfolded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.escape import markdown as escape
from bench.escape import markdown_code
from bench.report.table import PrintedCell, Table


def render_markdown(table: Table) -> str:
    """Returns heading, tables, footnotes, notes and signatures."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    if table.title:
        yield from (f"### {escape(table.title)}", "")
    for block in table.blocks():
        yield from (f"#### {escape(block.group.title)}", "")
        yield _row(["", *(escape(column.caption) for column in block.columns)])
        yield _row(["---", *["---:" for _ in block.columns]])
        for line in block.lines:
            yield _row([_cell(line.title), *map(_cell, line.cells)])
        yield ""
        if block.footnotes:
            footnotes = (f"<sup>{marker}</sup> {escape(text)}" for marker, text in block.footnotes.items())
            yield from ("<br>\n".join(footnotes), "")
    for note in table.notes:
        yield from (escape(note), "")
    yield from ("<details><summary>Data and signatures</summary>", "")
    yield from (f"- {escape(line)}" for line in table.data)
    yield from (f"- {markdown_code(line.signature)} ({escape(line.titles)})" for line in table.signatures)
    yield from ("", "</details>")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: PrintedCell) -> str:
    text = f"**{escape(cell.text)}**" if cell.bold else escape(cell.text)
    return text + (f"<sup>{cell.markers}</sup>" if cell.markers else "")

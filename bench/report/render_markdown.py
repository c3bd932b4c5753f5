"""A table as GitHub Markdown: one table per task, then notes; data and signatures can be unfolded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.report.table import PrintedCell, Table


def render_markdown(table: Table) -> str:
    """Returns heading, tables, footnotes, notes and signatures."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    if table.title:
        yield from (f"### {_escape(table.title)}", "")
    for block in table.blocks():
        yield from (f"#### {_escape(block.group.title)}", "")
        yield _row(["", *(_escape(column.caption) for column in block.columns)])
        yield _row(["---", *["---:" for _ in block.columns]])
        for line in block.lines:
            yield _row([_cell(line.title), *map(_cell, line.cells)])
        yield ""
        if block.footnotes:
            footnotes = (f"<sup>{marker}</sup> {_escape(text)}" for marker, text in block.footnotes.items())
            yield from ("<br>\n".join(footnotes), "")
    for note in table.notes:
        yield from (_escape(note), "")
    yield from ("<details><summary>Data and signatures</summary>", "")
    yield from (f"- {_escape(line)}" for line in table.data)
    yield from (f"- `{line.signature}` ({_escape(line.titles)})" for line in table.signatures)
    yield from ("", "</details>")


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", r"\<")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: PrintedCell) -> str:
    text = f"**{_escape(cell.text)}**" if cell.bold else _escape(cell.text)
    return text + (f"<sup>{cell.markers}</sup>" if cell.markers else "")

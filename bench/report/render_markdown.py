"""A table as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.report.table import Cell, Table


def render_markdown(table: Table) -> str:
    """Returns heading, table, footnotes, notes and signatures."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    headers = [_escape(f"{group.title} {column.caption}") for group, column in table.columns]
    if table.title:
        yield from (f"### {_escape(table.title)}", "")
    yield _row(["", *headers])
    yield _row(["---", *["---:" for _ in headers]])
    for row in table.rows:
        yield _row([_escape(row.title), *(_cell(table, cell) for cell in row.cells)])
    for text, marker in table.footnotes.items():
        yield from ("", f"<sup>{marker}</sup> {_escape(text)}")
    for note in table.notes:
        yield from ("", _escape(note))
    if table.signatures:
        yield from ("", "Signatures:", "")
    for line in table.signatures:
        yield f"- `{line.signature}` ({_escape(line.titles)})"


def _escape(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(table: Table, cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    markers = f"<sup>{table.markers(cell)}</sup>" if cell.footnotes else ""
    return " ".join(filter(None, (text, cell.published_text))) + markers

"""A table as a standalone HTML page that is also well-formed XML."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bench.report.table import Cell, Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; white-space: nowrap; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { padding: .25rem .75rem; text-align: right; font-variant-numeric: tabular-nums; }
th[scope=row] { text-align: left; font-weight: 400; }
thead tr:last-child th { border-bottom: 1px solid; }
th[colspan] { text-align: center; }
.published { color: #666; }
.scroll { overflow-x: auto; }
small { display: block; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e8e8e8; } .published { color: #999; } }
"""


def render_html(table: Table) -> str:
    """Returns the page; the tooltip of a value lists its runs, that of a heading its signature."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
    yield f"<title>{escape(table.title or 'della-bench')}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f'<div class="scroll">\n<table>\n<caption>{escape(table.title)}</caption>\n<thead>'
    groups = [f'<th colspan="{len(group.columns)}">{escape(group.title)}</th>' for group in table.column_groups]
    yield f'<tr><td rowspan="2"></td>{"".join(groups)}</tr>'
    headers = [
        f'<th scope="col" title="{escape(column.signature or "")}">{escape(column.caption)}</th>'
        for _, column in table.columns
    ]
    yield f"<tr>{''.join(headers)}</tr>\n</thead>\n<tbody>"
    for row in table.rows:
        cells = "".join(_cell(table, cell) for cell in row.cells)
        yield f'<tr><th scope="row">{escape(row.title)}</th>{cells}</tr>'
    yield "</tbody>\n</table>\n</div>"
    for text, marker in table.footnotes.items():
        yield f"<small><sup>{marker}</sup> {escape(text)}</small>"
    for note in table.notes:
        yield f"<p>{escape(note)}</p>"
    for line in table.signatures:
        yield f"<small><code>{escape(line.signature)}</code> ({escape(line.titles)})</small>"
    yield "</body>\n</html>"


def _cell(table: Table, cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.bold else escape(cell.text)
    published = f' <span class="published">{escape(cell.published_text)}</span>' if cell.published else ""
    markers = f"<sup>{table.markers(cell)}</sup>" if cell.footnotes else ""
    runs = f' title="{" ".join(cell.run_ids)}"' if cell.run_ids else ""
    return f"<td{runs}>{text}{published}{markers}</td>"

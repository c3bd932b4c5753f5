"""A table as a standalone HTML page, also well-formed XML: one table per task; its first column stays in view."""

from __future__ import annotations

from collections.abc import Iterator

from bench.escape import html as escape
from bench.report.table import PrintedCell, Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; }
body { color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; white-space: nowrap; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { padding: .25rem .75rem; text-align: right; font-variant-numeric: tabular-nums; }
th[scope=row] { text-align: left; font-weight: 400; }
th[scope=row], thead td { position: sticky; left: 0; background: #fff; }
thead th, thead td { border-bottom: 1px solid; }
.published { color: #666; }
.first > * { border-top: 1px solid; }
summary { cursor: pointer; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
small { display: block; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #e8e8e8; }
  .published { color: #999; }
  th[scope=row], thead td { background: #161616; }
}
"""


def render_html(table: Table) -> str:
    """Returns the page, in ASCII; the tooltip of a value lists its runs, that of a heading its signature."""
    return ("\n".join(_lines(table)) + "\n").encode("ascii", "xmlcharrefreplace").decode()


def _lines(table: Table) -> Iterator[str]:
    title = escape(table.title or "della-bench")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>"
    for block in table.blocks():
        yield f'<div class="scroll">\n<table>\n<caption>{escape(block.group.title)}</caption>\n<thead>'
        headers = (
            f'<th scope="col" title="{escape(column.signature or "")}">{escape(column.caption)}</th>'
            for column in block.columns
        )
        yield f"<tr><td></td>{''.join(headers)}</tr>\n</thead>\n<tbody>"
        for line in block.lines:
            cells = "".join(map(_cell, line.cells))
            attribute = ' class="published"' if line.is_published else ""
            attribute = ' class="published first"' if line.begins_published else attribute
            yield f'<tr{attribute}><th scope="row">{_text(line.title)}</th>{cells}</tr>'
        yield "</tbody>\n</table>\n</div>"
        for marker, text in block.footnotes.items():
            yield f"<small><sup>{marker}</sup> {escape(text)}</small>"
    for note in table.notes:
        yield f"<p>{escape(note)}</p>"
    yield "<details>\n<summary>Data and signatures</summary>"
    for text in table.data:
        yield f"<small>{escape(text)}</small>"
    for signature in table.signatures:
        yield f"<small><code>{escape(signature.signature)}</code> ({escape(signature.titles)})</small>"
    yield "</details>\n</body>\n</html>"


def _text(cell: PrintedCell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.bold else escape(cell.text)
    return text + (f"<sup>{cell.markers}</sup>" if cell.markers else "")


def _cell(cell: PrintedCell) -> str:
    runs = f' title="{escape(" ".join(cell.run_ids))}"' if cell.run_ids else ""
    return f"<td{runs}>{_text(cell)}</td>"

r"""A table as LaTeX; it needs only ``\usepackage{booktabs}``."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.table import Cell, ColumnGroup, Table

_ESCAPED = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar\allowbreak{}",
        "[": "{[}",  # a "[" after a line break would begin its optional argument
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "—": "---",
    }
)


def render_latex(table: Table) -> str:
    """Returns a ``table*`` environment; footnotes, notes and signatures follow the tabular."""
    return "\n".join(_lines(table)) + "\n"


def escape(text: str) -> str:
    """Returns the LaTeX code that prints ``text``."""
    return text.translate(_ESCAPED)


def _lines(table: Table) -> Iterator[str]:
    yield from (r"\begin{table*}", r"\centering", r"\small")
    if table.title:
        yield rf"\caption{{{escape(table.title)}}}"
    yield rf"\begin{{tabular}}{{l{'r' * sum(len(group.columns) for group in table.column_groups)}}}"
    yield r"\toprule"
    yield " & ".join(["", *(_group(group) for group in table.column_groups)]) + r" \\"
    first = 2
    for group in table.column_groups:
        last = first + len(group.columns) - 1
        yield rf"\cmidrule(lr){{{first}-{last}}}"
        first = last + 1
    yield " & ".join(["", *(escape(column.caption) for _, column in table.columns)]) + r" \\"
    yield r"\midrule"
    for row in table.rows:
        yield " & ".join([escape(row.title), *(_cell(table, cell) for cell in row.cells)]) + r" \\"
    yield from (r"\bottomrule", r"\end{tabular}", "", r"\footnotesize\raggedright")
    for text, marker in table.footnotes.items():
        yield rf"\textsuperscript{{{marker}}} {escape(text)}\par"
    for note in table.notes:
        yield rf"{escape(note)}\par"
    for line in table.signatures:
        yield rf"\texttt{{{escape(line.signature)}}} ({escape(line.titles)})\par"
    yield r"\end{table*}"


def _group(group: ColumnGroup) -> str:
    return rf"\multicolumn{{{len(group.columns)}}}{{c}}{{{escape(group.title)}}}"


def _cell(table: Table, cell: Cell) -> str:
    text = rf"\textbf{{{escape(cell.text)}}}" if cell.bold else escape(cell.text)
    markers = rf"\textsuperscript{{{table.markers(cell)}}}" if cell.footnotes else ""
    return " ".join(filter(None, (text, escape(cell.published_text)))) + markers

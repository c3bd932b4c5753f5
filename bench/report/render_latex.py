r"""A table as LaTeX: a ``table*`` per task, with data and signatures in comments; needs ``\usepackage{booktabs}``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from bench.escape import latex as escape
from bench.escape import one_line
from bench.report.table import Block, PrintedCell, Table

_WIDTH, _GAP = 92, 3
"""Characters of a line of a two-column page in the size ``\\small``, and between two columns."""


def render_latex(table: Table) -> str:
    """Returns one ``table*`` environment per task, of several tabulars if one would be too wide for a page."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield r"% Needs \usepackage{booktabs}."
    for text in (*table.data, *(f"{line.signature} ({line.titles})" for line in table.signatures)):
        yield f"% {one_line(text)}"
    for block in table.blocks(equal_decimals=True):
        title = ": ".join(filter(None, (table.title, block.group.title)))
        yield from ("", r"\begin{table*}", r"\centering", r"\small")
        yield rf"\caption{{{escape('. '.join((title, ' '.join(table.notes))))}}}"
        yield rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', f'{table.title} {block.group.task}'.lower()).strip('-')}}}"
        parts = list(block.split(_WIDTH, _GAP))
        for number, part in enumerate(parts):
            yield from _tabular(part)
            yield from ("", r"\medskip", "") if number < len(parts) - 1 else ()
        if block.footnotes:
            footnotes = (rf"\textsuperscript{{{marker}}} {escape(text)}" for marker, text in block.footnotes.items())
            yield from ("", r"\smallskip\footnotesize\raggedright", "; ".join(footnotes) + r".\par")
        yield r"\end{table*}"


def _tabular(block: Block) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{l{'r' * len(block.columns)}}}"
    yield r"\toprule"
    yield " & ".join(["", *(escape(column.text) for column in block.columns)]) + r" \\"
    yield " & ".join(["", *(escape(column.unit_and_arrow) for column in block.columns)]) + r" \\"
    yield r"\midrule"
    for line in block.lines:
        yield " & ".join([_cell(line.title), *map(_number, line.cells)]) + r" \\"
    yield from (r"\bottomrule", r"\end{tabular}")


def _cell(cell: PrintedCell) -> str:
    text = rf"\textbf{{{escape(cell.text)}}}" if cell.bold else escape(cell.text)
    return text + (rf"\textsuperscript{{{cell.markers}}}" if cell.markers else "")


def _number(cell: PrintedCell) -> str:
    """Returns a cell with the sign of its number as a minus instead of a hyphen."""
    return _cell(replace(cell, text=re.sub(r"(?<![\w.])-(?=[\d.])", "\N{MINUS SIGN}", cell.text)))

r"""A table as LaTeX that compiles alone, and by ``\input`` in a paper: a ``table*`` per task, its notes below it.

Numbers stand in columns of siunitx, aligned at the decimal point; data and signatures are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bench.escape import latex as escape
from bench.escape import one_line
from bench.report.table import Block, Line, PrintedCell, Table

_WIDTH, _GAP = 92, 3
"""Characters of a line of a two-column page in the size ``\\small``, and between two columns."""

_BEGIN = r"""% Compiles alone, and by \input in a paper that loads booktabs, siunitx and threeparttable.
\makeatletter
\def\endoftables{}
\ifx\documentclass\@twoclasseserror\else
  \documentclass{article}
  \usepackage[paperwidth=8.5in, paperheight=14in, margin=0.75in]{geometry}
  \usepackage{booktabs, siunitx, threeparttable}
  \begin{document}
  \def\endoftables{\end{document}}
\fi
\makeatother"""

_NUMBER = re.compile(r"(?P<sign>-?)(?P<whole>\d+)(\.(?P<part>\d+))?( ± (?P<spread>\d+(\.\d+)?))?")
_OPTIONS = "separate-uncertainty, retain-zero-uncertainty, detect-weight"


def render_latex(table: Table) -> str:
    """Returns one ``table*`` environment per task, of several tabulars if one would be too wide for a page."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield _BEGIN
    for text in (*table.data, *(f"{line.signature} ({line.titles})" for line in table.signatures)):
        yield f"% {one_line(text)}"
    for block in table.blocks(equal_decimals=True):
        title = ": ".join(filter(None, (table.title, block.group.title)))
        yield from ("", r"\begin{table*}", r"\centering", r"\small", rf"\sisetup{{{_OPTIONS}}}")
        yield r"\begin{threeparttable}"
        yield rf"\caption{{{escape(title)}}}"
        yield rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', f'{table.title} {block.group.task}'.lower()).strip('-')}}}"
        parts = list(block.split(_WIDTH, _GAP))
        if len(parts) == 1:
            yield from _tabular(parts[0])
        else:
            yield from _stacked(parts)
        yield r"\begin{tablenotes}[para, flushleft]\footnotesize"
        yield from (rf"\item[{marker}] {escape(text)}." for marker, text in block.footnotes.items())
        yield from (rf"\item[] {escape(note)}" for note in table.notes)
        yield from (r"\end{tablenotes}", r"\end{threeparttable}", r"\end{table*}")
    yield from ("", r"\endoftables")


def _stacked(parts: Sequence[Block]) -> Iterator[str]:
    """Yields a tabular in each line of another one, as wide as the widest of them: so wide are then the notes."""
    yield r"\begin{tabular}{@{}c@{}}"
    for part in parts:
        yield from (*_tabular(part), r"\\" if part is parts[-1] else r"\\ \noalign{\bigskip}")
    yield r"\end{tabular}"


def _tabular(block: Block) -> Iterator[str]:
    numbers = range(len(block.columns))
    columns = " ".join(_column([line.cells[number] for line in block.lines]) for number in numbers)
    yield rf"\begin{{tabular}}{{l {columns}}}"
    yield r"\toprule"
    yield " & ".join(["", *(f"{{{escape(column.text)}}}" for column in block.columns)]) + r" \\"
    if any(column.unit_and_arrow for column in block.columns):
        yield " & ".join(["", *(f"{{{escape(column.unit_and_arrow)}}}" for column in block.columns)]) + r" \\"
    yield r"\midrule"
    for line in block.lines:
        if line.begins_published:
            yield r"\midrule"
        yield " & ".join([_title(line), *map(_cell, line.cells)]) + r" \\"
    yield from (r"\bottomrule", r"\end{tabular}")


def _column(cells: Sequence[PrintedCell]) -> str:
    """Returns a column of siunitx with room for the widest sign, number, spread and markers."""
    found = [match for cell in cells if (match := _NUMBER.fullmatch(cell.text))]
    sign = "-" if any(match["sign"] for match in found) else ""
    whole = max((len(match["whole"]) for match in found), default=1)
    part = max((len(match["part"] or "") for match in found), default=0)
    spread = max((len(_spread(match).replace(".", "").lstrip("0")) for match in found if match["spread"]), default=0)
    markers = max((cell.markers for cell in cells), key=len)
    room = [f"table-format={sign}{whole}" + (f".{part}" if part else "") + (f"({spread})" if spread else "")]
    room += [rf"table-space-text-post={{\tnote{{{markers}}}}}"] if markers else []
    return f"S[{', '.join(room)}]"


def _spread(match: re.Match[str]) -> str:
    """Returns the spread with as many decimals as the value."""
    part = match["part"]
    return f"{float(match['spread']):.{len(part)}f}" if part else match["spread"]


def _title(line: Line) -> str:
    title = escape(line.title.text)
    return (rf"\textit{{{title}}}" if line.is_published else title) + _note(line.title)


def _cell(cell: PrintedCell) -> str:
    """Returns a number for siunitx, or a text in braces; a minus that belongs to a number is no hyphen."""
    if not cell.text:
        return f"{{{_note(cell)}}}" if cell.markers else ""
    if match := _NUMBER.fullmatch(cell.text):
        value = cell.text.partition(" ± ")[0] + (f" +- {_spread(match)}" if match["spread"] else "")
        return (r"\bfseries " if cell.bold else "") + value + _note(cell)
    text = escape(re.sub(r"(?<![\w.])-(?=[\d.])", "\N{MINUS SIGN}", cell.text))
    shown = rf"\textbf{{{text}}}" if cell.bold else text
    return f"{{{shown}{_note(cell)}}}"


def _note(cell: PrintedCell) -> str:
    return rf"\tnote{{{cell.markers}}}" if cell.markers else ""

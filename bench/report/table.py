"""A table as every format renders it: cells with spread, runs and footnotes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median_high
from string import ascii_lowercase
from typing import Literal

from bench.bootstrap import Interval
from bench.metric import Direction
from bench.records.published import PublishedFigure

CellState = Literal["measured", "entropy", "skipped", "diverged", "failed", "missing"]
"""``entropy``: the value of the true distribution, in the row "floor"."""

_PRINTED_UNITS = ("nats", "bits", "%")
_TEXT_WITHOUT_VALUE: dict[CellState, str] = {"diverged": "diverged", "failed": "failed", "entropy": ""}
_ARROWS: dict[Direction | None, str] = {"up": "↑", "down": "↓", None: ""}


@dataclass(frozen=True)
class ColumnHeader:
    """The header of a column; all values of a column have the same signature.

    Attributes:
        text: heading.
        metric: name of the metric.
        direction: which way is better, None if neither is.
        unit: unit of the values.
        signature: long form, None if no run has a value.
        n_texts: number of texts behind each value, None if no run has a value.
    """

    text: str
    metric: str
    direction: Direction | None = None
    unit: str = "1"
    signature: str | None = None
    n_texts: int | None = None

    @property
    def caption(self) -> str:
        """Heading, unit and an arrow towards better values, for example ``ELBO (nats) ↓``."""
        return f"{self.text} {self.unit_and_arrow}".rstrip()

    @property
    def unit_and_arrow(self) -> str:
        """Unit and arrow towards better values, for example ``(nats) ↓``; empty without either."""
        unit = f"({self.unit}) " if self.unit in _PRINTED_UNITS else ""
        return f"{unit}{_ARROWS[self.direction]}".rstrip()


@dataclass(frozen=True)
class ColumnGroup:
    """The columns of one task."""

    task: str
    title: str
    columns: tuple[ColumnHeader, ...]


@dataclass(frozen=True)
class Cell:
    """One value of the table, or the reason why there is none.

    Attributes:
        state: whether there is a value, and if not, why.
        value: mean over seeds.
        sd: sample standard deviation over seeds, None with one seed.
        n_seeds: number of runs behind the value.
        interval: decides about bold (see ``bench.report.build``); None without intervals over texts and seeds.
        published: the figure of the paper.
        run_ids: the runs behind the value.
        bold: whether this is the best value and its interval overlaps no other.
        footnotes: their texts; the table gives a marker to each.
        shows_interval: whether the interval is printed, with two decimals, in the place of the spread over seeds.
        doubts: why the value may not stand (see ``bench.records.doubts``); also among the footnotes of a built table.
    """

    state: CellState
    value: float | None = None
    sd: float | None = None
    n_seeds: int = 0
    interval: Interval | None = None
    published: PublishedFigure | None = None
    run_ids: tuple[str, ...] = ()
    bold: bool = False
    footnotes: tuple[str, ...] = ()
    shows_interval: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The value and its spread; without a value, a replacement such as "—"."""
        return self.format()

    def format(self, decimals: int | None = None) -> str:
        """Returns ``text`` with so many decimals."""
        if self.value is None:
            return _TEXT_WITHOUT_VALUE.get(self.state, "—")
        if self.shows_interval and self.interval:
            return f"{self.value:.2f} [{self.interval.low:.2f}, {self.interval.high:.2f}]"
        return format_spread(self.value, self.sd, decimals)

    @property
    def published_text(self) -> str:
        """The published figure as printed, or an empty text."""
        return self.published.printed if self.published else ""

    @property
    def published_note(self) -> str:
        """The caveat about the published figure, or an empty text."""
        return f"published figure: {self.published.note}" if self.published and self.published.note else ""


@dataclass(frozen=True)
class TableRow:
    """The cells of a system, in the order of the columns of all groups.

    Attributes:
        label: label of the system.
        title: its name in the table.
        cells: one per column.
        footnotes: name of a task to texts about all cells of the row on this task.
    """

    label: str
    title: str
    cells: tuple[Cell, ...]
    footnotes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PrintedCell:
    """A cell as text formats print it."""

    text: str
    bold: bool = False
    markers: str = ""
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A printed line of a block: title and cells of a system, or the figures that a paper prints for it.

    Attributes:
        title: of the line.
        cells: one per column.
        is_published: whether a paper prints the figures.
        begins_published: whether it is the first such line of a block, to be set apart from the lines above.
    """

    title: PrintedCell
    cells: tuple[PrintedCell, ...]
    is_published: bool = False
    begins_published: bool = False


@dataclass(frozen=True)
class Block:
    """The lines of one task, or of some of its columns.

    Attributes:
        group: task and title.
        columns: headers.
        lines: top to bottom.
        footnotes: marker to text, of the markers in this block.
    """

    group: ColumnGroup
    columns: tuple[ColumnHeader, ...]
    lines: tuple[Line, ...]
    footnotes: Mapping[str, str]

    def title_width(self, limit: int) -> int:
        """Returns the characters of the longest title of a line, at most a third of ``limit``."""
        return min(max(len(line.title.text) + len(line.title.markers) + 1 for line in self.lines), limit // 3)

    def column_width(self, number: int) -> int:
        """Returns the characters of the widest cell or word of the header of a column."""
        cells = [line.cells[number] for line in self.lines]
        texts = [f"{cell.text} {cell.markers}".strip() for cell in cells]
        return max(map(len, [*texts, *self.columns[number].caption.split()]))

    def split(self, width: int, gap: int) -> Iterator[Block]:
        """Yields the columns in blocks of at most ``width`` characters, but at least one column each.

        Args:
            width: characters of a line.
            gap: characters between two columns.
        """
        start, used = 0, (title := self.title_width(width))
        for number in range(len(self.columns)):
            needed = self.column_width(number) + gap
            if number > start and used + needed > width:
                yield self._part(start, number)
                start, used = number, title
            used += needed
        yield self._part(start, len(self.columns))

    def transposed(self) -> Block:
        """Returns the block with a line per column and a column per line."""
        columns = tuple(
            ColumnHeader(f"{line.title.text} {line.title.markers}".rstrip(), line.title.text) for line in self.lines
        )
        lines = tuple(
            Line(PrintedCell(column.caption), tuple(line.cells[number] for line in self.lines))
            for number, column in enumerate(self.columns)
        )
        return replace(self, columns=columns, lines=lines)

    def _part(self, start: int, stop: int) -> Block:
        lines = tuple(replace(line, cells=line.cells[start:stop]) for line in self.lines)
        return replace(self, columns=self.columns[start:stop], lines=lines)


@dataclass(frozen=True)
class SignatureLine:
    """A signature and the titles of the column groups that have it, for example ``PTB, SNLI``."""

    signature: str
    titles: str


@dataclass(frozen=True)
class Table:
    """A table with its notes and signatures.

    Attributes:
        title: heading.
        scale: scale of all runs.
        column_groups: one per task.
        rows: one per system.
        notes: sentences that a reader needs to compare two cells.
        data: a line about each data set.
        signatures: the signatures of all columns, without repetition.
        is_transposed: whether blocks have a line per metric and a column per system.
    """

    title: str
    scale: str
    column_groups: tuple[ColumnGroup, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    data: tuple[str, ...]
    signatures: tuple[SignatureLine, ...]
    is_transposed: bool = False

    @property
    def columns(self) -> Iterator[tuple[ColumnGroup, ColumnHeader]]:
        """Each column with its group, in the order of the cells of a row."""
        return ((group, column) for group in self.column_groups for column in group.columns)

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Text of each footnote, in reading order, to its marker: a to z, then aa, ab and so on."""
        texts: dict[str, None] = {}
        for group, cells_of in self._groups:
            for row in self.rows:
                cells = cells_of(row)
                texts |= dict.fromkeys(row.footnotes.get(group.task, ()))
                texts |= dict.fromkeys(text for cell in cells for text in cell.footnotes)
                texts |= dict.fromkeys(filter(None, (cell.published_note for cell in cells)))
        return {text: _marker(number) for number, text in enumerate(texts)}

    @property
    def _groups(self) -> Iterator[tuple[ColumnGroup, Callable[[TableRow], tuple[Cell, ...]]]]:
        """Each group of columns with the function that returns its cells of a row."""
        start = 0
        for group in self.column_groups:
            part = slice(start, start := start + len(group.columns))
            yield group, lambda row, part=part: row.cells[part]  # type: ignore[misc]

    def markers(self, texts: Iterable[str]) -> str:
        """Returns the markers of footnotes, for example ``a,c``."""
        return ",".join(self.footnotes[text] for text in texts)

    def blocks(self, equal_decimals: bool = False) -> Iterator[Block]:
        """Yields the block of each task; published figures stand in lines of their own below those of the systems.

        Args:
            equal_decimals: whether all values of a column have equally many decimals.
        """
        markers = {marker: text for text, marker in self.footnotes.items()}
        for group, cells_of in self._groups:
            columns = list(zip(*map(cells_of, self.rows), strict=True))
            decimals = [_common_decimals(column) if equal_decimals else None for column in columns]
            of_rows = [line for row in self.rows for line in self._lines(row, group.task, cells_of(row), decimals)]
            ours = [line for line in of_rows if not line.is_published]
            printed_lines = [line for line in of_rows if line.is_published]
            first = [replace(line, begins_published=bool(ours)) for line in printed_lines[:1]]
            lines = (*ours, *first, *printed_lines[1:])
            printed = [cell.markers for line in lines for cell in (line.title, *line.cells) if cell.markers]
            used = {marker for cell in printed for marker in cell.split(",")}
            footnotes = {marker: text for marker, text in markers.items() if marker in used}
            block = Block(group, group.columns, lines, footnotes)
            yield block.transposed() if self.is_transposed else block

    def _lines(
        self, row: TableRow, task: str, cells: tuple[Cell, ...], decimals: Sequence[int | None]
    ) -> Iterator[Line]:
        if all(cell.state == "entropy" and cell.value is None and not cell.footnotes for cell in cells):
            return
        title = PrintedCell(row.title, markers=self.markers(row.footnotes.get(task, ())))
        printed = (
            PrintedCell(cell.format(places), cell.bold, self.markers(cell.footnotes), cell.run_ids)
            for cell, places in zip(cells, decimals, strict=True)
        )
        yield Line(title, tuple(printed))
        if any(cell.published for cell in cells):
            notes = [(cell.published_note,) if cell.published_note else () for cell in cells]
            figures = (
                PrintedCell(cell.published_text, markers=self.markers(note))
                for cell, note in zip(cells, notes, strict=True)
            )
            yield Line(PrintedCell(f"{row.title} (published)"), tuple(figures), is_published=True)


def _common_decimals(cells: Sequence[Cell]) -> int:
    """Returns the median of the decimals of a column's values, or the least number that shows none of them as zero."""
    values = [(cell.value, cell.sd) for cell in cells if cell.value is not None and abs(cell.value) < 1e6]
    if not values:
        return 0
    decimals = median_high([decimals_of(*value) for value in values])
    while decimals < 4 and any(value and not round(value, decimals) for value, _ in values):
        decimals += 1
    return decimals


def _marker(number: int) -> str:
    head, letter = divmod(number, 26)
    return (_marker(head - 1) if head else "") + ascii_lowercase[letter]


def decimals_of(value: float, sd: float | None) -> int:
    """Returns the decimals that show two significant digits of the spread; without spread, four digits of the value."""
    leading = math.floor(math.log10(sd or abs(value) or 1.0))
    return 0 if not sd and value.is_integer() else min(max((1 if sd else 3) - leading, 0), 4)


def format_spread(value: float, sd: float | None, decimals: int | None = None) -> str:
    """Returns ``value ± sd`` with so many decimals, by default as many as ``decimals_of`` gives."""
    if abs(value) >= 1e6:
        return f"{value:.3e}" + (f" ± {sd:.1e}" if sd is not None else "")
    decimals = decimals_of(value, sd) if decimals is None else decimals
    spread = "" if sd is None else f" ± {sd:.{decimals}f}" if sd else " ± 0"
    return f"{value:.{decimals}f}{spread}"

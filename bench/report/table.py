"""A table as every format renders it: cells with spread, runs and footnotes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase
from typing import Literal

from bench.bootstrap import Interval
from bench.metric import Direction
from bench.records.published import PublishedFigure

CellState = Literal["measured", "entropy", "skipped", "diverged", "missing"]
"""``entropy``: the value of the true distribution, in the row "floor"."""

_PRINTED_UNITS = ("nats", "bits", "%")
_TEXT_WITHOUT_VALUE: dict[CellState, str] = {"diverged": "diverged", "entropy": ""}
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
        unit = f" ({self.unit})" if self.unit in _PRINTED_UNITS else ""
        return f"{self.text}{unit} {_ARROWS[self.direction]}".rstrip()


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

    @property
    def text(self) -> str:
        """The value and its spread; without a value, a replacement such as "—"."""
        return _TEXT_WITHOUT_VALUE.get(self.state, "—") if self.value is None else format_spread(self.value, self.sd)

    @property
    def published_text(self) -> str:
        """The published figure in parentheses, or an empty text."""
        return f"({self.published.printed})" if self.published else ""


@dataclass(frozen=True)
class TableRow:
    """The cells of a system, in the order of the columns of all groups."""

    label: str
    title: str
    cells: tuple[Cell, ...]


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
        notes: sentences about the whole table.
        signatures: the signatures of all columns, without repetition.
    """

    title: str
    scale: str
    column_groups: tuple[ColumnGroup, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    signatures: tuple[SignatureLine, ...]

    @property
    def columns(self) -> Iterator[tuple[ColumnGroup, ColumnHeader]]:
        """Each column with its group, in the order of the cells of a row."""
        return ((group, column) for group in self.column_groups for column in group.columns)

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Text of each footnote, in reading order, to its marker: a to z, then aa, ab and so on."""
        texts = dict.fromkeys(text for row in self.rows for cell in row.cells for text in cell.footnotes)
        return {text: _marker(number) for number, text in enumerate(texts)}

    def markers(self, cell: Cell) -> str:
        """Returns the footnote markers of a cell, for example ``a,c``."""
        return ",".join(self.footnotes[text] for text in cell.footnotes)


def _marker(number: int) -> str:
    head, letter = divmod(number, 26)
    return (_marker(head - 1) if head else "") + ascii_lowercase[letter]


def format_spread(value: float, sd: float | None) -> str:
    """Returns ``value ± sd`` to two significant digits of the spread; without spread, four digits of the value."""
    if abs(value) >= 1e6:
        return f"{value:.3e}" + (f" ± {sd:.1e}" if sd is not None else "")
    leading = math.floor(math.log10(sd or abs(value) or 1.0))
    decimals = 0 if not sd and value.is_integer() else min(max((1 if sd else 3) - leading, 0), 4)
    spread = "" if sd is None else f" ± {sd:.{decimals}f}" if sd else " ± 0"
    return f"{value:.{decimals}f}{spread}"

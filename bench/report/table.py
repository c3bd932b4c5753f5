"""The one model of a table that every format renders: cells with their spread, provenance and footnotes."""

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

State = Literal["measured", "floor", "skipped", "diverged", "missing"]
_UNITS_SHOWN = ("nats", "bits", "%")
_WITHOUT_VALUE: dict[State, str] = {"diverged": "diverged", "floor": ""}
_ARROWS: dict[Direction | None, str] = {"up": "↑", "down": "↓", None: ""}


@dataclass(frozen=True)
class HeaderCell:
    """The head of a column; all values below it carry the same signature.

    Attributes:
        text: heading.
        metric: name of the metric.
        direction: which way is better, None where neither is.
        unit: unit of the values.
        signature: long form, None where no run has a value.
        n_texts: texts behind every value, None where no run has a value.
    """

    text: str
    metric: str
    direction: Direction | None = None
    unit: str = "1"
    signature: str | None = None
    n_texts: int | None = None

    @property
    def arrow(self) -> str:
        """An arrow to the better values."""
        return _ARROWS[self.direction]

    @property
    def caption(self) -> str:
        """Heading, unit and arrow, for example ``ELBO (nats) ↓``."""
        unit = f" ({self.unit})" if self.unit in _UNITS_SHOWN else ""
        return f"{self.text}{unit} {self.arrow}".rstrip()


@dataclass(frozen=True)
class ColumnGroup:
    """The columns of one task."""

    task: str
    title: str
    columns: tuple[HeaderCell, ...]


@dataclass(frozen=True)
class Cell:
    """One value of the table, or why there is none.

    Attributes:
        state: whether there is a value, and if not, why.
        value: mean over seeds.
        sd: sample standard deviation over seeds, None with one seed.
        n_seeds: runs behind the value.
        interval: what bold is decided by (see ``bench.report.build``), None where neither texts nor seeds give one.
        published: the figure of the paper.
        run_ids: the runs behind the value.
        bold: whether the interval separates this best value from all others.
        footnotes: remarks; the table gives each a marker.
    """

    state: State
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
        """The value with its spread, rounded to two digits of the spread; without one, what there is instead."""
        return _WITHOUT_VALUE.get(self.state, "—") if self.value is None else format_spread(self.value, self.sd)

    @property
    def aside(self) -> str:
        """The published figure in parentheses, or nothing."""
        return f"({self.published.printed})" if self.published else ""


@dataclass(frozen=True)
class Row:
    """A system's cells, in the order of the columns of all groups."""

    label: str
    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class SignatureLine:
    """A signature and the groups whose columns carry it."""

    signature: str
    groups: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.signature} ({', '.join(self.groups)})"


@dataclass(frozen=True)
class Table:
    """A table and all that belongs under it.

    Attributes:
        title: heading.
        scale: scale of all its runs.
        groups: groups of columns, one per task.
        rows: systems.
        notes: sentences that apply to the whole table.
        signatures: each signature once.
    """

    title: str
    scale: str
    groups: tuple[ColumnGroup, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    signatures: tuple[SignatureLine, ...]

    @property
    def columns(self) -> Iterator[tuple[ColumnGroup, HeaderCell]]:
        """Every column with its group, left to right: the order of a row's cells."""
        return ((group, column) for group in self.groups for column in group.columns)

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Every remark once, in reading order, with its marker: a to z, then aa, ab and so on."""
        remarks = dict.fromkeys(text for row in self.rows for cell in row.cells for text in cell.footnotes)
        return {text: _marker(number) for number, text in enumerate(remarks)}

    def marks(self, cell: Cell) -> str:
        """Returns the markers of a cell's remarks, or nothing."""
        return ",".join(self.footnotes[remark] for remark in cell.footnotes)


def _marker(number: int) -> str:
    head, letter = divmod(number, 26)
    return (_marker(head - 1) if head else "") + ascii_lowercase[letter]


def format_spread(value: float, sd: float | None) -> str:
    """Returns ``value ± sd`` to two significant digits of the spread, without spread to four of the value."""
    if abs(value) >= 1e6:
        return f"{value:.3e}" + (f" ± {sd:.1e}" if sd is not None else "")
    leading = math.floor(math.log10(sd or abs(value) or 1.0))
    decimals = 0 if not sd and value.is_integer() else min(max((1 if sd else 3) - leading, 0), 4)
    spread = "" if sd is None else f" ± {sd:.{decimals}f}" if sd else " ± 0"
    return f"{value:.{decimals}f}{spread}"

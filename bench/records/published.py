"""Figures as printed in papers: one CSV per paper; the file's name is the key of the paper.

The papers used other data, token counts and estimators; a table prints these figures beside ours and says so.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from bench.errors import BenchError, unknown_name
from bench.metric import Direction
from bench.reading import read_text

COLUMNS = ("paper", "table", "dataset", "model", "variant", "metric", "value", "direction", "note")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}([,'\u2019\s])\d{3}(\1\d{3})*(\.\d+)?")
"""A number with separators of thousands: ``12,345.6``, ``12 345``, ``12'345``."""

_MINUS = dict.fromkeys(map(ord, "\N{MINUS SIGN}\N{EN DASH}\N{FIGURE DASH}\N{FULLWIDTH HYPHEN-MINUS}"), "-")

_DIRECTIONS: dict[str, Direction | None] = {"up": "up", "down": "down", "": None}


@dataclass(frozen=True)
class PublishedFigure:
    """One figure of a paper.

    Attributes:
        key: short name of the paper, the stem of its file.
        citation: how the paper is cited.
        table: table of the paper.
        dataset: the paper's name of the data set.
        model: model of the row, as printed.
        variant: what distinguishes rows of the same model, as printed.
        metric: metric of the column, as printed.
        printed: the figure as printed, for example ``23.35``, ``100k`` or ``<=332.1``.
        direction: which way is better, None if neither is.
        note: a caveat about the figure.
    """

    key: str
    citation: str
    table: str
    dataset: str
    model: str
    variant: str
    metric: str
    printed: str
    direction: Direction | None
    note: str

    @property
    def value(self) -> float | None:
        """The figure as a number; None for a text such as ``100k`` or a bound."""
        try:
            value = float(number_text(self.printed))
        except ValueError:
            return None
        return value if math.isfinite(value) else None


class PublishedFigures:
    """Published figures, indexed by paper, table, data set, row and metric."""

    def __init__(self, figures: Iterable[PublishedFigure]) -> None:
        self.figures = tuple(figures)
        self._cells = {(f.key, f.table, f.dataset, f.model, f.variant, f.metric): f for f in self.figures}
        self._tables = {(f.key, f.table): f.citation for f in self.figures}

    @classmethod
    def load(cls, folder: Traversable | None = None) -> PublishedFigures:
        """Reads every paper in ``folder``, by default the figures that are part of the package.

        Raises:
            BenchError: as ``read_paper``.
        """
        papers = [file for file in (folder or published_folder()).iterdir() if file.name.endswith(".csv")]
        return cls(figure for file in sorted(papers, key=lambda file: file.name) for figure in read_paper(file))

    def citation(self, key: str, table: str) -> str:
        """Returns the citation of the paper that prints a table.

        Raises:
            BenchError: no such paper or table.
        """
        if (key, table) not in self._tables:
            if tables := self.tables(key):
                raise unknown_name(f"table of {key}", table, tables)
            raise unknown_name("paper", key, {paper for paper, _ in self._tables})
        return self._tables[key, table]

    def tables(self, key: str) -> tuple[str, ...]:
        """Returns the tables of a paper, in printed order."""
        return tuple(table for k, table in self._tables if k == key)

    def find(self, key: str, table: str, dataset: str, model: str, variant: str, metric: str) -> PublishedFigure | None:
        """Returns one figure, or None if the paper prints none."""
        return self._cells.get((key, table, dataset, model, variant, metric))

    def rows(self, key: str, table: str) -> tuple[tuple[str, str], ...]:
        """Returns (model, variant) of each row of a table, in printed order.

        Raises:
            BenchError: no such paper or table.
        """
        self.citation(key, table)
        return tuple(dict.fromkeys((f.model, f.variant) for f in self.figures if (f.key, f.table) == (key, table)))


def published_folder() -> Traversable:
    """Returns the folder of the published figures: in the installed package, or else in ``results/`` of a checkout."""
    installed = files("bench.records") / "published"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "results" / "published"


def read_paper(file: Traversable) -> list[PublishedFigure]:
    """Reads the figures of one paper.

    Raises:
        BenchError: the file is unreadable; it has wrong columns, a line with more or fewer cells, a quote that is not
            closed, or a wrong direction; or a cell is given twice.
    """
    text = read_text(file)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    figures: dict[tuple[str, ...], tuple[PublishedFigure, int]] = {}
    line = 1
    try:
        header = [name.strip() for name in next(rows, [])]
        if tuple(header) != COLUMNS:
            raise BenchError(f"{file}: expected the columns {', '.join(COLUMNS)}")
        for cells in rows:
            line, start = rows.line_num, line + 1
            if not any(map(str.strip, cells)):
                continue
            figure = _figure(cells, file, start)
            key = (figure.table, figure.dataset, figure.model, figure.variant, figure.metric)
            if key in figures:
                name = " / ".join(filter(None, key))
                raise BenchError(f"{file}, line {start}: {name} is also in line {figures[key][1]}")
            figures[key] = (figure, start)
    except csv.Error as error:
        reason = f"the quote of line {line + 1} is never closed" if "end of data" in str(error) else str(error)
        raise BenchError(f"{file}, line {line + 1}: {reason}") from error
    return [figure for figure, _ in figures.values()]


def _figure(cells: Sequence[str], file: Traversable, line: int) -> PublishedFigure:
    """Returns the figure in one line of a file; characters that break lines are blanks."""
    if len(cells) != len(COLUMNS):
        raise BenchError(f"{file}, line {line}: {len(cells)} cells, the columns are {len(COLUMNS)}")
    row = {name: " ".join(cell.replace("\ufeff", "").split()) for name, cell in zip(COLUMNS, cells, strict=True)}
    if (direction := row.pop("direction")) not in _DIRECTIONS:
        raise BenchError(f"{file}, line {line}: direction {direction!r}; allowed: up, down, empty")
    figure = PublishedFigure(
        key=file.name.removesuffix(".csv"),
        citation=row.pop("paper"),
        printed=row.pop("value"),
        direction=_DIRECTIONS[direction],
        **row,
    )
    if figure.value is None and re.fullmatch(r"[-+.\d]+e\+?\d+", number_text(figure.printed), re.IGNORECASE):
        raise BenchError(f"{file}, line {line}: {figure.printed} is not a finite number")
    return figure


def number_text(printed: str) -> str:
    """Returns a printed figure as Python reads numbers: with a hyphen as minus, without separators of thousands."""
    text = printed.strip().translate(_MINUS)
    return re.sub(r"(?<=\d)[,'\u2019\s](?=\d)", "", text) if _THOUSANDS.fullmatch(text) else text

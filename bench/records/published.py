"""Figures as printed in papers: one CSV per paper; the file's name is the key of the paper.

The papers used other data, token counts and estimators; a table prints these figures beside ours and says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from bench.errors import BenchError, unknown_name
from bench.metric import Direction
from bench.reading import read_text

COLUMNS = ("paper", "table", "dataset", "model", "variant", "metric", "value", "direction", "note")
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
            return float(self.printed)
        except ValueError:
            return None


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
        BenchError: the file is unreadable, or has wrong columns or a wrong direction.
    """
    rows = csv.DictReader(read_text(file).splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise BenchError(f"{file}: expected the columns {', '.join(COLUMNS)}")
    figures = []
    for row in rows:
        if row["direction"] not in _DIRECTIONS:
            raise BenchError(f"{file}, line {rows.line_num}: direction {row['direction']!r}; allowed: up, down, empty")
        figures.append(
            PublishedFigure(
                key=file.name.removesuffix(".csv"),
                citation=row.pop("paper"),
                printed=row.pop("value"),
                direction=_DIRECTIONS[row.pop("direction")],
                **row,
            )
        )
    return figures

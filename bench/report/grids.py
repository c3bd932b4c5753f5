"""Runs that share a table: those of one folder, scale and source of texts; and their rows, a system on a task each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from bench.records.differences import distinct_runs
from bench.records.doubts import training_ends
from bench.records.published import PublishedFigure, PublishedFigures
from bench.records.schema import Record
from bench.records.store import StoredRun
from bench.report.build import build_table
from bench.report.layout import complete_layout
from bench.report.series import test_scores
from bench.report.table import Cell, ColumnHeader, Table

ENTROPY_ROW = "floor"
"""Label of the row of the true distribution."""


@dataclass(frozen=True)
class Grid:
    """Runs of one folder, scale and source of texts.

    Attributes:
        name: of the folder and the scale.
        runs: each once.
        table: all their systems, tasks and metrics.
    """

    name: str
    runs: tuple[StoredRun, ...]
    table: Table

    @cached_property
    def records(self) -> list[Record]:
        """The records of the runs."""
        return [run.record for run in self.runs]


@dataclass(frozen=True)
class GridRow:
    """A system on a task.

    Attributes:
        grid: where its runs are.
        task: name and title of the task.
        label: of the system.
        title: of the system.
        cells: headers and cells with a value or a reason.
        footnotes: about all cells.
        runs: one per seed; none in the row of the true distribution.
    """

    grid: Grid
    task: tuple[str, str]
    label: str
    title: str
    cells: Sequence[tuple[ColumnHeader, Cell]]
    footnotes: Sequence[str]
    runs: Sequence[StoredRun]

    @property
    def system(self) -> str:
        """The name of the system without options, objective and backbone."""
        return re.split("[:+@]", self.label)[0]

    @property
    def objective(self) -> str:
        """The objective in the label, or ``default``."""
        return self.label.partition("@")[0].partition("+")[2] or ("" if self.label == ENTROPY_ROW else "default")

    @property
    def cell_of(self) -> Mapping[str, Cell]:
        """Heading to cell."""
        return {header.text: cell for header, cell in self.cells}

    @property
    def published_of(self) -> Mapping[str, PublishedFigure]:
        """Metric to published figure."""
        return {header.metric: cell.published for header, cell in self.cells if cell.published}

    def values(self, metric: str) -> list[float]:
        """Returns the scores of the runs on the test texts, one per seed that has one."""
        scores = (test_scores(run.record).get(metric) for run in self.runs)
        return [score.value for score in scores if score is not None]

    @cached_property
    def seconds(self) -> float | None:
        """Mean seconds of a finished run, all phases; None without one."""
        totals = [sum(timing.seconds for timing in record.timings) for record in self._finished if record.timings]
        return fmean(totals) if totals else None

    @property
    def peak_memory(self) -> int | None:
        """Largest peak memory of a run, in bytes, if known."""
        return max((record.peak_memory_bytes for record in self._finished if record.peak_memory_bytes), default=None)

    @property
    def parameters(self) -> int | None:
        """Number of parameters, if known."""
        return next((record.model.parameters for record in self._finished if record.model), None)

    @property
    def _finished(self) -> list[Record]:
        return [run.record for run in self.runs if run.record.status == "finished"]


def grids_of(runs: Sequence[StoredRun], published: PublishedFigures | None = None) -> list[Grid]:
    """Returns the grids in the order of their first run, each with its table.

    Raises:
        BenchError: runs of one folder, scale, task and label differ in more than the seed.
    """
    published = published or PublishedFigures.load()
    folders: dict[tuple[str, str, str], list[StoredRun]] = {}
    for run in runs:
        record = run.record
        folders.setdefault((str(run.path.resolve().parent.parent), record.scale, record.data.source), []).append(run)
    grids = []
    for (folder, scale, source), of_folder in folders.items():
        distinct = tuple(distinct_runs(of_folder, lambda run: run.record))
        records = [run.record for run in distinct]
        table = build_table(records, complete_layout(records), True, published=published, ends=training_ends(distinct))
        texts = "embedded" if source == "grammar" else source
        grids.append(Grid(f"{folder.rpartition('/')[2]} ({scale}, {texts})", distinct, table))
    return grids


def rows_of(grid: Grid) -> Iterator[GridRow]:
    """Yields the rows of a grid, task by task, without those that have neither runs nor values."""
    start = 0
    for group in grid.table.column_groups:
        part = slice(start, start := start + len(group.columns))
        for row in grid.table.rows:
            runs = [r for r in grid.runs if (r.record.task, r.record.label) == (group.task, row.label)]
            cells = list(zip(group.columns, row.cells[part], strict=True))
            if runs or any(cell.value is not None for _, cell in cells):
                title = "true distribution" if row.label == ENTROPY_ROW else row.title
                notes = row.footnotes.get(group.task, ())
                yield GridRow(grid, (group.task, group.title), row.label, title, cells, notes, runs)

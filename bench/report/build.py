"""From records to a table: which runs share a cell, which columns may not be mixed, what deserves bold.

A cell is the mean over seeds. Its interval is the hull of two: the bootstrap interval over texts (averaged over
seeds), because all seeds are scored on the same texts and their spread cannot see the choice of texts; and Student's
t interval over seeds, because resampled texts cannot see the randomness of training (two standard errors would cover
70 % with two seeds, not 95 %). The best value of a column is bold if its interval is disjoint from that of every other
system.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from bench.bootstrap import Interval
from bench.errors import BenchError, unknown_name
from bench.metric import Direction, Signature
from bench.records.published import Published, PublishedFigure
from bench.records.schema import Record, RecordedScore
from bench.report.layout import Layout, MetricLayout, RowLayout, TaskLayout, default_layout
from bench.report.table import Cell, ColumnGroup, HeaderCell, Row, SignatureLine, Table
from bench.specs import NO_IDENTITY

FLOOR = " floor"
"""Ends the name of a score that no valid value of the metric before it can beat, for example ``PPL floor``."""

T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086),
    *(2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""0.975 quantiles of Student's t with 1 to 30 degrees of freedom; the last serves for more."""

_MAY_DIFFER = frozenset({"seed", *(".".join(entry) for entry in NO_IDENTITY)})
"""Entries of a spec in which the runs of one cell may differ: the seed, and what cannot change a result."""


@dataclass(frozen=True)
class _Basis:
    """What all values of a column have in common; values on two bases are not comparable."""

    signature: str
    n_texts: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.signature} on {self.n_texts} texts of data {self.sha256[:12]}"

    def facts(self) -> dict[str, str]:
        """Returns everything that can tell two bases apart, by name."""
        signature = Signature.parse(self.signature)
        own = {"v": str(signature.version), "texts": str(self.n_texts), "data": self.sha256[:12]}
        return {**dict(signature.fields), **own}


@dataclass(frozen=True)
class _Column:
    task: TaskLayout
    metric: MetricLayout
    header: HeaderCell
    basis: _Basis | None = None


def build_table(
    records: Sequence[Record],
    layout: Layout | None = None,
    allow_mixed: bool = False,
    *,
    scale: str | None = None,
    published: Published | None = None,
) -> Table:
    """Builds the table of a set of runs.

    Args:
        records: runs; those of tasks that the layout does not name are left out.
        layout: rows and columns; by default all systems x all tasks x the main metrics that were measured.
        allow_mixed: prints a column per signature where runs of one metric carry different ones.
        scale: takes the runs of this scale only.
        published: figures of papers; by default those that come with the suite.

    Raises:
        BenchError: no run fits; runs of two scales; one metric under two signatures, numbers of texts or data; one
            seed twice; runs of a cell that differ in more than the seed; a published row that does not exist.
    """
    records = [record for record in records if scale in (None, record.scale)]
    if not records:
        raise BenchError(f"no record to tabulate{f' at scale {scale}' if scale else ''}")
    keep_empty = layout is not None
    layout = _with_others(layout, records) if layout else default_layout(records)
    published = published or Published.load()
    _check_published(layout, published)
    runs = _Runs.choose(records, layout)
    columns = [c for task in layout.tasks for c in _group(task, layout.metrics, runs, allow_mixed, keep_empty)]
    rows = []
    for row in layout.rows:
        cells = [replace(_cell(runs, row, column), published=_figure(published, row, column)) for column in columns]
        rows.append(Row(row.label, row.title or row.label, tuple(cells)))
    rows = _remarked(_emboldened(rows, columns))
    floor = _floor(runs, columns)
    return Table(
        title=layout.title,
        scale=runs.scale,
        groups=_groups(layout, columns),
        rows=(*floor, *rows),
        notes=tuple(_notes(layout, published, runs, columns, rows)),
        signatures=_signatures(runs, columns),
    )


def _with_others(layout: Layout, records: Sequence[Record]) -> Layout:
    """Adds a row for each system that has runs but none yet, so that a new one appears in every table."""
    tasks = {task.name for task in layout.tasks}
    others = {record.label for record in records if record.task in tasks} - {row.label for row in layout.rows}
    added = tuple(RowLayout(label=label) for label in sorted(others)) if layout.others else ()
    return layout.model_copy(update={"rows": layout.rows + added})


@dataclass(frozen=True)
class _Runs:
    """The runs that a layout names, all of one scale."""

    by_cell: Mapping[tuple[str, str], Sequence[Record]]
    scale: str
    split: str

    @classmethod
    def choose(cls, records: Sequence[Record], layout: Layout) -> _Runs:
        by_cell: dict[tuple[str, str], list[Record]] = {
            (task.name, row.label): [] for task in layout.tasks for row in layout.rows
        }
        for record in records:
            if (record.task, record.label) in by_cell:
                by_cell[record.task, record.label].append(record)
        scales = sorted({record.scale for cell in by_cell.values() for record in cell})
        if not scales:
            wanted = f"{', '.join(row.label for row in layout.rows)} on {', '.join(task.name for task in layout.tasks)}"
            raise BenchError(f"no record fits the layout: looked for {wanted}")
        if len(scales) > 1:
            raise BenchError(f"records of several scales ({', '.join(scales)}) do not share a table; choose one")
        for cell in by_cell.values():
            _check_alike(cell)
        return cls(by_cell, scales[0], layout.split)

    def of_task(self, task: str) -> list[Record]:
        return [record for (name, _), cell in self.by_cell.items() if name == task for record in cell]

    def scores(self, record: Record, metric: str) -> dict[_Basis, RecordedScore]:
        """Returns the scores of a finished run under one name, by what they are based on."""
        scores = [s for s in record.metrics if (s.name, s.split) == (metric, self.split)]
        return {_Basis(s.signature, s.n, record.data.sha256): s for s in scores if record.status == "finished"}


def _check_alike(cell: Sequence[Record]) -> None:
    """Raises unless the runs of a cell differ in the seed and in nothing else that decides a result."""
    for one, other in pairwise(sorted(cell, key=lambda record: record.seed)):
        where = f"{one.task} {one.label}: runs {one.run_id} and {other.run_id}"
        if one.seed == other.seed:
            raise BenchError(f"{where} both have seed {one.seed}")
        first, second = (dict(_flat({"spec": r.spec, "components": r.components})) for r in (one, other))
        for key in sorted(first.keys() | second.keys()):
            if first.get(key) != second.get(key) and key.removeprefix("spec.") not in _MAY_DIFFER:
                raise BenchError(f"{where} differ in {key} ({first.get(key)} and {second.get(key)})")


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _group(
    task: TaskLayout, metrics: Sequence[MetricLayout], runs: _Runs, allow_mixed: bool, keep_empty: bool
) -> list[_Column]:
    """Returns the columns of a task: all, or those measured; at least one, so that failed runs have a cell."""
    columns = [column for metric in metrics for column in _columns(task, metric, runs, allow_mixed)]
    return [c for c in columns if c.basis or (keep_empty and not c.metric.optional)] or columns[:1]


def _columns(task: TaskLayout, metric: MetricLayout, runs: _Runs, allow_mixed: bool) -> list[_Column]:
    """Returns the columns of a metric: one, or one per basis where every run has them all or mixing is allowed."""
    title = metric.title or metric.name
    measured = [scores for record in runs.of_task(task.name) if (scores := runs.scores(record, metric.name))]
    if not measured:
        return [_Column(task, metric, HeaderCell(title, metric.name))]
    for one, other in pairwise(measured):
        if one.keys() != other.keys() and not allow_mixed:
            first, second = (next((b for b in x if b not in y), next(iter(x))) for x, y in ((one, other), (other, one)))
            raise BenchError(f"{task.name} {metric.name}: {first} and {second} do not share a column")
    found = {basis: score for scores in measured for basis, score in scores.items()}
    suffixes = _telling_apart([basis.facts() for basis in found])
    return [
        _Column(
            task,
            metric,
            HeaderCell(title + suffix, metric.name, score.direction, score.unit, score.signature, score.n),
            basis,
        )
        for (basis, score), suffix in zip(found.items(), suffixes, strict=True)
    ]


def _telling_apart(facts: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns for each mapping what sets it apart from the others, for example `` [delta:0.2]``."""
    keys = dict.fromkeys(key for fact in facts for key in fact)
    telling = [key for key in keys if len({fact.get(key) for fact in facts}) > 1]
    own = [", ".join(f"{key}:{fact[key]}" for key in telling if key in fact) for fact in facts]
    return [f" [{text}]" if text else "" for text in own]


def _cell(runs: _Runs, row: RowLayout, column: _Column) -> Cell:
    records = runs.by_cell[column.task.name, row.label]
    if not records:
        return Cell("missing", footnotes=("no run",))
    diverged = [f"diverged: {record.reason}" for record in records if record.status == "diverged"]
    found = [(record, runs.scores(record, column.metric.name)) for record in records]
    scores = {record.run_id: by_basis[column.basis] for record, by_basis in found if column.basis in by_basis}
    if scores:
        remarks = (f"{len(diverged)} of {len(records)} seeds {diverged[0]}",) if diverged else ()
        return _measured(list(scores.values()), tuple(scores), remarks)
    if len(diverged) == len(records):
        return Cell("diverged", footnotes=(diverged[0],))
    reasons = [str(record.reason) for record in records if record.status == "skipped"]
    reasons += [s.reason for record in records for s in record.skipped if s.metric == column.metric.name]
    return Cell("skipped", footnotes=(reasons[0],)) if reasons else Cell("missing", footnotes=("not measured",))


def _measured(scores: Sequence[RecordedScore], run_ids: tuple[str, ...], remarks: tuple[str, ...]) -> Cell:
    values = [score.value for score in scores]
    return Cell(
        "measured",
        value=fmean(values),
        sd=stdev(values) if len(values) > 1 else None,
        n_seeds=len(values),
        interval=_interval(scores),
        run_ids=run_ids,
        footnotes=remarks,
    )


def _interval(scores: Sequence[RecordedScore]) -> Interval | None:
    """Returns the hull of the interval over texts and the interval over seeds; None where there is neither."""
    over_texts = [score.interval for score in scores if score.interval]
    ends = []
    if len(over_texts) == len(scores):
        ends.append((fmean(i.low for i in over_texts), fmean(i.high for i in over_texts)))
    if len(scores) > 1:
        values = [score.value for score in scores]
        quantile = T_QUANTILES[min(len(values) - 1, len(T_QUANTILES)) - 1]
        margin = quantile * stdev(values) / math.sqrt(len(values))
        ends.append((fmean(values) - margin, fmean(values) + margin))
    lows, highs = zip(*ends, strict=True) if ends else ((), ())
    return Interval(min(lows), max(highs), method="hull of texts and seeds") if ends else None


def _emboldened(rows: Sequence[Row], columns: Sequence[_Column]) -> list[Row]:
    """Marks the best cell of each column, where its interval is disjoint from that of every other row."""
    best = [_separated([row.cells[i] for row in rows], column.header.direction) for i, column in enumerate(columns)]
    return [
        replace(row, cells=tuple(replace(cell, bold=best[i] == r) for i, cell in enumerate(row.cells)))
        for r, row in enumerate(rows)
    ]


def _separated(cells: Sequence[Cell], direction: Direction | None) -> int | None:
    """Returns the index of the cell whose interval lies beyond that of every other measured cell, if there is one."""
    intervals = {i: cell.interval for i, cell in enumerate(cells) if cell.value is not None}
    if direction is None or len(intervals) < 2:
        return None

    def beats(one: Interval | None, other: Interval | None) -> bool:
        if one is None or other is None:
            return False
        return one.low > other.high if direction == "up" else one.high < other.low

    return next((i for i in intervals if all(beats(intervals[i], intervals[j]) for j in intervals if j != i)), None)


def _remarked(rows: Sequence[Row]) -> list[Row]:
    """Adds the footnotes on missing seeds and on published figures."""
    most = max(cell.n_seeds for row in rows for cell in row.cells)

    def remarks(cell: Cell) -> Iterator[str]:
        yield from cell.footnotes
        if 0 < cell.n_seeds < most and not cell.footnotes:
            yield f"{cell.n_seeds} of {most} seeds"
        if cell.published and cell.published.note:
            yield f"published figure: {cell.published.note}"

    return [
        replace(row, cells=tuple(replace(cell, footnotes=tuple(remarks(cell))) for cell in row.cells)) for row in rows
    ]


def _floor(runs: _Runs, columns: Sequence[_Column]) -> tuple[Row, ...]:
    """Returns the row of known bounds, if any run carries one."""
    scores = [_floor_score(runs, column) for column in columns]
    cells = [Cell("floor", score.value if score else None) for score in scores]
    return (Row("floor", "floor", tuple(cells)),) if any(scores) else ()


def _floor_score(runs: _Runs, column: _Column) -> RecordedScore | None:
    """Returns the bound on a column; it is a fact of the data, so every run that carries it carries the same."""
    of_basis = (r for r in runs.of_task(column.task.name) if column.basis in runs.scores(r, column.metric.name))
    return next((score for r in of_basis for score in runs.scores(r, column.metric.name + FLOOR).values()), None)


def _figure(published: Published, row: RowLayout, column: _Column) -> PublishedFigure | None:
    """Returns the printed figure beside a cell: of the first published row that has one for the column's data."""
    data = column.task.published
    if data is None:
        return None
    metric = column.metric.published or column.metric.name
    places = ((own.source or data, own) for own in row.published)
    found = (published.find(s.paper, s.table, data.dataset, own.model, own.variant, metric) for s, own in places)
    return next((figure for figure in found if figure), None)


def _check_published(layout: Layout, published: Published) -> None:
    """Raises unless every table that the layout names exists, and every row in it or in another table of its paper.

    A layout narrowed to the tasks that were run still names rows of the tables beside the others.
    """
    beside = [task.published for task in layout.tasks if task.published]
    for place in beside:
        published.citation(place.paper, place.table)
    all_tables = dict.fromkeys((place.paper, table) for place in beside for table in published.tables(place.paper))
    for own in (own for row in layout.rows for own in row.published):
        places = [(own.source.paper, own.source.table)] if own.source else [*all_tables]
        printed = dict.fromkeys(" / ".join(cells) for place in places for cells in published.rows(*place))
        wanted = f"{own.model} / {own.variant}"
        if places and wanted not in printed:
            raise unknown_name(f"row of {', '.join(dict.fromkeys(paper for paper, _ in places))}", wanted, printed)


def _groups(layout: Layout, columns: Sequence[_Column]) -> tuple[ColumnGroup, ...]:
    return tuple(
        ColumnGroup(task.name, task.title or task.name, tuple(c.header for c in columns if c.task is task))
        for task in layout.tasks
    )


def _signatures(runs: _Runs, columns: Sequence[_Column]) -> tuple[SignatureLine, ...]:
    groups: dict[str, dict[str, None]] = {}
    for column in columns:
        floor = _floor_score(runs, column)
        for signature in filter(None, (column.header.signature, floor.signature if floor else None)):
            groups.setdefault(signature, {})[column.task.title or column.task.name] = None
    return tuple(SignatureLine(signature, tuple(titles)) for signature, titles in groups.items())


def _notes(
    layout: Layout, published: Published, runs: _Runs, columns: Sequence[_Column], rows: Sequence[Row]
) -> Iterator[str]:
    """Yields what a reader must know before comparing two cells."""
    cells = [cell for row in rows for cell in row.cells]
    seeds = max(cell.n_seeds for cell in cells)
    if layout.caption:
        yield layout.caption
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    yield f"Scale {runs.scale}; {spread}; {layout.split} split."
    yield (
        "Bold: the best value, if its 95 % interval is disjoint from that of every other system; the interval covers"
        " the choice of texts (bootstrap) and, with several seeds, that of seeds (Student's t)."
    )
    for task in layout.tasks:
        yield from _data_notes(task, runs, [column.header for column in columns if column.task is task])
    figures = [cell.published for cell in cells if cell.published]
    for key, table in dict.fromkeys((figure.key, figure.table) for figure in figures):
        datasets = dict.fromkeys(figure.dataset for figure in figures if (figure.key, figure.table) == (key, table))
        yield (
            f"In parentheses: figures as printed in {published.citation(key, table)}, {table}, measured on the paper's"
            f" {', '.join(datasets)} with its own tokens and estimators: NOT comparable with ours."
        )


def _data_notes(task: TaskLayout, runs: _Runs, headers: Sequence[HeaderCell]) -> Iterator[str]:
    """Yields a line for each data set behind a group of columns."""
    counts: dict[int, list[str]] = {}
    for header in headers:
        if header.n_texts is not None:
            counts.setdefault(header.n_texts, []).append(header.text)
    sizes = [f"{n} texts scored" + (f" ({', '.join(texts)})" if len(counts) > 1 else "") for n, texts in counts.items()]
    for data in {record.data.sha256: record.data for record in runs.of_task(task.name)}.values():
        source = f"{data.source} data, version {data.version}, sha256 {data.sha256[:12]}"
        yield "; ".join([f"{task.title or task.name}: {source}", *sizes, *data.notes]) + "."

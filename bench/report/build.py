"""Builds a table from records: columns, cells, bold values, published figures, notes.

A cell is the mean over seeds. Its interval is the hull of two intervals. The bootstrap interval over texts (averaged
over seeds) covers the choice of texts, which is the same for all seeds; Student's t interval over seeds covers the
randomness of training (two standard errors would cover 70 % with two seeds, not 95 %). The best value of a column is
bold if its interval is disjoint from those of all other systems, and if there is no reason to doubt it
(``bench.records.doubts``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev

from bench.bootstrap import Interval
from bench.errors import BenchError, unknown_name
from bench.metric import Direction
from bench.records.doubts import TrainingEnd
from bench.records.published import PublishedFigure, PublishedFigures
from bench.records.schema import Record, RecordedScore
from bench.report.layout import default_layout
from bench.report.runs import RunsOfTable, ScoreConditions
from bench.report.table import Cell, CellState, ColumnGroup, ColumnHeader, SignatureLine, Table, TableRow
from bench.specs import SweepSpec, TrainingSpec
from bench.suites import Layout, MetricLayout, RowLayout, TaskLayout

ENTROPY_SUFFIX = " floor"
"""``PPL floor`` is the score of the true distribution under ``PPL``: no valid value is better."""

BIASED, UNBIASED = "MAUVE", 5000
"""A metric that is too high for few texts, and the number of texts from which it is not (Pillutla et al. 2021)."""

T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086),
    *(2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""0.975 quantiles of Student's t with 1 to 30 degrees of freedom; the last is used for more."""

LEVEL = 0.95
"""Level of the intervals that decide about bold."""

OVER_SEEDS = "Student's t over seeds"
"""Method of an interval that does not cover the choice of texts."""

STANDARD_DEVIATION = "sd:"
"""Begin of the method of intervals that are one standard deviation over something else than texts."""


@dataclass(frozen=True)
class _Column:
    task: TaskLayout
    metric: MetricLayout
    header: ColumnHeader
    conditions: ScoreConditions | None = None


def build_table(
    records: Sequence[Record],
    layout: Layout | None = None,
    allow_mixed: bool = False,
    *,
    scale: str | None = None,
    published: PublishedFigures | None = None,
    ends: Mapping[str, TrainingEnd] | None = None,
) -> Table:
    """Builds the table of a set of runs.

    Args:
        records: runs; those of tasks that are not in the layout are ignored.
        layout: rows and columns; by default all systems x all tasks x the main metrics that were measured.
        allow_mixed: gives each signature a column of its own if runs have different signatures of one metric, and a
            footnote to rows that were trained or scored differently.
        scale: selects the runs of this scale.
        published: figures of papers; by default those that are part of the package.
        ends: run id to the end of its training, for the marks of cells whose training had not ended.

    Raises:
        BenchError: no run fits; runs have two scales; a metric has two signatures, numbers of texts or data sets; runs
            of a cell differ in more than the seed, or rows in more than system and objective; a published row does not
            exist.
    """
    records = [record for record in records if scale in (None, record.scale)]
    if not records:
        raise BenchError(f"no record to tabulate{f' at scale {scale}' if scale else ''}")
    keep_empty = layout is not None
    layout = _with_other_systems(layout, records) if layout else default_layout(records)
    published = published or PublishedFigures.load()
    _check_published(layout, published)
    runs = RunsOfTable.select(records, layout, allow_mixed)
    columns = [c for task in layout.tasks for c in _task_columns(task, layout.metrics, runs, allow_mixed, keep_empty)]
    rows = []
    for row in layout.rows:
        cells = [
            replace(_cell(runs, row, column), published=_published_figure(published, row, column)) for column in columns
        ]
        cells = [
            replace(cell, doubts=tuple(_doubts(cell, runs, column, ends or {})))
            for cell, column in zip(cells, columns, strict=True)
        ]
        notes = {task.name: runs.footnotes.get((task.name, row.label), ()) for task in layout.tasks}
        rows.append(TableRow(row.label, row.title or row.label, tuple(cells), notes))
    rows = _with_footnotes(_with_bold(rows, columns))
    return Table(
        title=layout.title,
        scale=runs.scale,
        column_groups=_column_groups(layout, columns),
        rows=(*_entropy_rows(runs, columns), *rows),
        notes=tuple(_notes(layout, published, runs, columns, rows)),
        data=tuple(line for task in layout.tasks for line in _data_lines(task, runs, columns)),
        signatures=_signatures(runs, columns),
    )


def _with_other_systems(layout: Layout, records: Sequence[Record]) -> Layout:
    """Adds a row for each system that has runs but no row, so that a new system appears in every table."""
    tasks = {task.name for task in layout.tasks}
    others = {record.label for record in records if record.task in tasks} - {row.label for row in layout.rows}
    added = tuple(RowLayout(label=label) for label in sorted(others)) if layout.others else ()
    return layout.model_copy(update={"rows": layout.rows + added})


def _task_columns(
    task: TaskLayout, metrics: Sequence[MetricLayout], runs: RunsOfTable, allow_mixed: bool, keep_empty: bool
) -> list[_Column]:
    """Returns the columns of a task: all or the measured ones, but at least one, so that failed runs have a cell."""
    columns = [column for metric in metrics for column in _metric_columns(task, metric, runs, allow_mixed)]
    return [c for c in columns if c.conditions or (keep_empty and not c.metric.optional)] or columns[:1]


def _metric_columns(task: TaskLayout, metric: MetricLayout, runs: RunsOfTable, allow_mixed: bool) -> list[_Column]:
    """Returns the columns of a metric: one for each kind of conditions.

    Raises:
        BenchError: there are several and some runs lack one of them, unless mixing is allowed.
    """
    title = metric.title or metric.name
    measured = [scores for record in runs.of_task(task.name) if (scores := runs.scores(record, metric.name))]
    if not measured:
        return [_Column(task, metric, ColumnHeader(title, metric.name))]
    for a, b in pairwise(measured):
        if a.keys() != b.keys() and not allow_mixed:
            first, second = (next((c for c in x if c not in y), next(iter(x))) for x, y in ((a, b), (b, a)))
            raise BenchError(f"{task.name} {metric.name}: {first} and {second} do not share a column")
    by_conditions = {conditions: score for scores in measured for conditions, score in scores.items()}
    suffixes = _difference_suffixes([conditions.as_dict() for conditions in by_conditions])
    return [
        _Column(
            task,
            metric,
            ColumnHeader(title + suffix, metric.name, score.direction, score.unit, score.signature, score.n),
            conditions,
        )
        for (conditions, score), suffix in zip(by_conditions.items(), suffixes, strict=True)
    ]


def _difference_suffixes(mappings: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the entries of each mapping that differ from those of another, for example `` [delta:0.2]``."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    different = [key for key in keys if len({mapping.get(key) for mapping in mappings}) > 1]
    texts = [", ".join(f"{key}:{mapping[key]}" for key in different if key in mapping) for mapping in mappings]
    return [f" [{text}]" if text else "" for text in texts]


def _cell(runs: RunsOfTable, row: RowLayout, column: _Column) -> Cell:
    records = runs.by_cell[column.task.name, row.label]
    if not records:
        return Cell("missing", footnotes=("no run",))
    lost = [record for record in records if record.status in ("diverged", "failed")]
    by_run = {record.run_id: runs.scores(record, column.metric.name) for record in records}
    scores = {run: score for run, of_run in by_run.items() for c, score in of_run.items() if c == column.conditions}
    if scores:
        return _measured_cell(list(scores.values()), tuple(scores), _lost_seeds(lost, len(records)))
    if len(lost) == len(records):
        first = next((record for record in lost if record.status == "diverged"), lost[0])
        state: CellState = "diverged" if first.status == "diverged" else "failed"
        return Cell(state, footnotes=(f"{first.status}: {first.reason}",))
    reasons = [str(record.reason) for record in records if record.status == "skipped"]
    reasons += [s.reason for record in records for s in record.skipped if s.metric == column.metric.name]
    return Cell("skipped", footnotes=(reasons[0],)) if reasons else Cell("missing", footnotes=("not measured",))


def _lost_seeds(lost: Sequence[Record], n_seeds: int) -> tuple[str, ...]:
    """Returns for each way in which seeds were lost how many were, and why the first of them."""
    by_status: dict[str, list[Record]] = {}
    for record in lost:
        by_status.setdefault(record.status, []).append(record)
    return tuple(f"{len(of)} of {n_seeds} seeds {status}: {of[0].reason}" for status, of in by_status.items())


def _measured_cell(scores: Sequence[RecordedScore], run_ids: tuple[str, ...], footnotes: tuple[str, ...]) -> Cell:
    values = [score.value for score in scores]
    sd = stdev(values) if len(values) > 1 else None
    return Cell(
        "measured",
        value=fmean(values),
        sd=sd,
        n_seeds=len(values),
        interval=scores[0].interval if sd is None else _interval(scores, sd),
        run_ids=run_ids,
        footnotes=footnotes,
    )


def _doubts(cell: Cell, runs: RunsOfTable, column: _Column, ends: Mapping[str, TrainingEnd]) -> Iterator[str]:
    """Yields why the value of a cell may not stand."""
    falling = [end.fall for run in cell.run_ids if (end := ends.get(run)) and end.is_still_falling and end.fall]
    if falling:
        yield _of_seeds(len(falling), cell.n_seeds, f"still falling {fmean(falling) * 100:.0f} % an epoch")
    if column.metric.name == "KL":
        records = (record for record in runs.of_task(column.task.name) if record.run_id in cell.run_ids)
        empty = sum(map(runs.has_uninformative_kl, records))
        if empty:
            yield _of_seeds(empty, cell.n_seeds, "KL without information (MI under a tenth of it)")


def _of_seeds(count: int, n_seeds: int, text: str) -> str:
    return text if count == n_seeds else f"{count} of {n_seeds} seeds: {text}"


def _interval(scores: Sequence[RecordedScore], sd: float) -> Interval:
    """Returns the interval over texts and seeds of several scores with the standard deviation ``sd``.

    It is the hull of the mean interval over texts and the interval over seeds, or the latter alone.
    """
    values = [score.value for score in scores]
    quantile = T_QUANTILES[min(len(values) - 1, len(T_QUANTILES)) - 1]
    margin = quantile * sd / math.sqrt(len(values))
    low, high = fmean(values) - margin, fmean(values) + margin
    over_texts = [score.interval for score in scores if score.interval and covers_texts(score.interval)]
    if len(over_texts) < len(scores):
        return Interval(low, high, LEVEL, OVER_SEEDS)
    low, high = min(low, fmean(i.low for i in over_texts)), max(high, fmean(i.high for i in over_texts))
    return Interval(low, high, LEVEL, "hull of texts and seeds")


def covers_texts(interval: Interval) -> bool:
    """Says whether an interval is one over texts at the level that decides about bold."""
    return interval.level >= LEVEL and not interval.method.startswith((STANDARD_DEVIATION, OVER_SEEDS))


def _with_bold(rows: Sequence[TableRow], columns: Sequence[_Column]) -> list[TableRow]:
    """Marks the best cell of each column if its interval is disjoint from those of all other rows."""
    best = [
        _separated_best([row.cells[i] for row in rows], column.header.direction) for i, column in enumerate(columns)
    ]
    return [
        replace(row, cells=tuple(replace(cell, bold=best[i] == r) for i, cell in enumerate(row.cells)))
        for r, row in enumerate(rows)
    ]


def _separated_best(cells: Sequence[Cell], direction: Direction | None) -> int | None:
    """Returns the index of the cell with an interval better than those of all other measured cells, if there is one.

    A doubtful cell is never it, but the others must be better than it.
    """
    intervals = {
        i: cell.interval if cell.interval and covers_texts(cell.interval) else None
        for i, cell in enumerate(cells)
        if cell.value is not None
    }
    if direction is None or len(intervals) < 2:
        return None

    def is_better(a: Interval | None, b: Interval | None) -> bool:
        if a is None or b is None:
            return False
        return a.low > b.high if direction == "up" else a.high < b.low

    certain = [i for i in intervals if not cells[i].doubts]
    return next((i for i in certain if all(is_better(intervals[i], intervals[j]) for j in intervals if j != i)), None)


def _with_footnotes(rows: Sequence[TableRow]) -> list[TableRow]:
    """Adds the footnotes about missing seeds and the doubts."""
    most = max(cell.n_seeds for row in rows for cell in row.cells)

    def all_footnotes(cell: Cell) -> Iterator[str]:
        yield from cell.footnotes
        if 0 < cell.n_seeds < most and not cell.footnotes:
            yield f"{cell.n_seeds} of {most} seeds"
        yield from cell.doubts

    return [
        replace(row, cells=tuple(replace(cell, footnotes=tuple(all_footnotes(cell))) for cell in row.cells))
        for row in rows
    ]


def _entropy_rows(runs: RunsOfTable, columns: Sequence[_Column]) -> tuple[TableRow, ...]:
    """Returns the row of the true distribution if any run has its scores or could have had them, else no row."""
    scores = [_entropy_score(runs, column) for column in columns]
    reasons = [_reason_without_entropy(runs, column) for column in columns]
    cells = [
        Cell("entropy", score.value) if score else Cell("entropy", footnotes=(reason,) if reason else ())
        for score, reason in zip(scores, reasons, strict=True)
    ]
    return (TableRow("floor", "floor", tuple(cells)),) if any(scores) or any(reasons) else ()


def _reason_without_entropy(runs: RunsOfTable, column: _Column) -> str | None:
    """Returns why a known distribution has no score in a column, for example that texts were cut."""
    name = column.metric.name + ENTROPY_SUFFIX
    of_grammar = (record for record in runs.of_task(column.task.name) if record.data.source == "grammar")
    return next((s.reason for record in of_grammar for s in record.skipped if s.metric == name), None)


def _entropy_score(runs: RunsOfTable, column: _Column) -> RecordedScore | None:
    """Returns the score of the true distribution, which is the same in all runs that have it."""
    metric = column.metric.name
    comparable = (r for r in runs.of_task(column.task.name) if column.conditions in runs.scores(r, metric))
    return next((score for r in comparable for score in runs.scores(r, metric + ENTROPY_SUFFIX).values()), None)


def _published_figure(published: PublishedFigures, row: RowLayout, column: _Column) -> PublishedFigure | None:
    """Returns the published figure of a cell, from the first published row that has one for the column's data."""
    data = column.task.published
    if data is None:
        return None
    metric = column.metric.published or column.metric.name
    tables = ((printed.source or data, printed) for printed in row.published)
    figures = (published.find(t.paper, t.table, data.dataset, p.model, p.variant, metric) for t, p in tables)
    return next(filter(None, figures), None)


def _check_published(layout: Layout, published: PublishedFigures) -> None:
    """Raises unless every published table and row that the layout names exists.

    A row without a source may be in any table of the papers beside the tasks: a layout that was narrowed to the tasks
    of a run still names rows of the tables beside the other tasks.
    """
    tables = [task.published for task in layout.tasks if task.published]
    for table in tables:
        published.citation(table.paper, table.table)
    all_tables = dict.fromkeys((table.paper, name) for table in tables for name in published.tables(table.paper))
    for row in (row for row_layout in layout.rows for row in row_layout.published):
        sources = [(row.source.paper, row.source.table)] if row.source else [*all_tables]
        printed = dict.fromkeys(" / ".join(names) for source in sources for names in published.rows(*source))
        name = f"{row.model} / {row.variant}"
        if sources and name not in printed:
            raise unknown_name(f"row of {', '.join(dict.fromkeys(paper for paper, _ in sources))}", name, printed)


def _column_groups(layout: Layout, columns: Sequence[_Column]) -> tuple[ColumnGroup, ...]:
    return tuple(
        ColumnGroup(task.name, task.title or task.name, tuple(c.header for c in columns if c.task is task))
        for task in layout.tasks
    )


def _signatures(runs: RunsOfTable, columns: Sequence[_Column]) -> tuple[SignatureLine, ...]:
    groups: dict[str, dict[str, None]] = {}
    for column in columns:
        entropy = _entropy_score(runs, column)
        for signature in filter(None, (column.header.signature, entropy.signature if entropy else None)):
            groups.setdefault(signature, {})[column.task.title or column.task.name] = None
    return tuple(SignatureLine(signature, ", ".join(titles)) for signature, titles in groups.items())


def _notes(
    layout: Layout, published: PublishedFigures, runs: RunsOfTable, columns: Sequence[_Column], rows: Sequence[TableRow]
) -> Iterator[str]:
    """Yields what a reader must know to compare two cells."""
    cells = [cell for row in rows for cell in row.cells]
    seeds = max(cell.n_seeds for cell in cells)
    if layout.caption:
        yield layout.caption
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    covered = "texts and seeds" if seeds > 1 else "texts"
    yield (
        f"Scale {runs.scale}; {spread}; {layout.split} split. Bold: the best value, if its {LEVEL:.0%} interval over"
        f" {covered} is disjoint from that of every other system."
    )
    others = dict.fromkeys(
        f"{column.header.text} ({cell.interval.level:.0%}, {cell.interval.method})"
        for row in rows
        for column, cell in zip(columns, row.cells, strict=True)
        if cell.interval and column.header.direction and not covers_texts(cell.interval)
    )
    if others:
        yield f"Never bold, because the interval is another one: {', '.join(others)}."
    if any(cell.doubts for cell in cells):
        yield (
            "Still falling: the validation ELBO had not stopped falling when training ended, so the value says how far"
            " training got. Such values, and a KL without information, are never bold."
        )
    sizes = {column.header.n_texts or UNBIASED for column in columns if column.metric.name == BIASED}
    few = sorted(size for size in sizes if size < UNBIASED)
    if few:
        yield (
            f"{BIASED} of {' and '.join(map(str, few))} texts is biased upwards; from {UNBIASED:,} texts on it is not"
            " (docs/text-metrics.md says by how much)."
        )
    yield from _sweep_notes(layout, runs)
    figures = [cell.published for cell in cells if cell.published]
    for key, table in dict.fromkeys((figure.key, figure.table) for figure in figures):
        datasets = dict.fromkeys(figure.dataset for figure in figures if (figure.key, figure.table) == (key, table))
        yield (
            f"(published): as printed in {published.citation(key, table)}, {table}, measured on the paper's"
            f" {', '.join(datasets)} with its own tokens and estimators: NOT comparable with ours."
        )


def _sweep_notes(layout: Layout, runs: RunsOfTable) -> Iterator[str]:
    """Yields how the learning rates were chosen, and which they are, if a sweep chose them."""
    by_task = {
        task.title or task.name: [record for record in runs.of_task(task.name) if record.spec.get("sweep")]
        for task in layout.tasks
    }
    tuned = [record for of_task in by_task.values() for record in of_task]
    if not tuned:
        return
    sweep = SweepSpec.model_validate(tuned[0].spec["sweep"])
    yield (
        f"Learning rates: for each row, the one of {', '.join(map(str, sweep.learning_rates))} with the lowest"
        f" validation ELBO on {' and '.join(sweep.tasks)}, seed {sweep.seed}, in {len(sweep.learning_rates)} runs a row"
        " and task."
    )
    for title, of_task in by_task.items():
        by_rate: dict[float, dict[str, None]] = {}
        for record in of_task:
            rate = TrainingSpec.model_validate(record.spec["training"]).learning_rate
            by_rate.setdefault(rate, {})[record.label] = None
        chosen = "; ".join(f"{rate} for {', '.join(labels)}" for rate, labels in sorted(by_rate.items()))
        if chosen:
            yield f"{title}: learning rate {chosen}."


def _data_lines(task: TaskLayout, runs: RunsOfTable, columns: Sequence[_Column]) -> Iterator[str]:
    """Yields a line for each data set of a group of columns."""
    counts: dict[int, list[str]] = {}
    for header in (column.header for column in columns if column.task is task):
        if header.n_texts is not None:
            counts.setdefault(header.n_texts, []).append(header.text)
    sizes = [f"{n} texts scored" + (f" ({', '.join(texts)})" if len(counts) > 1 else "") for n, texts in counts.items()]
    for data in {record.data.sha256: record.data for record in runs.of_task(task.name)}.values():
        source = f"{data.source} data, version {data.version}, sha256 {data.sha256[:12]}"
        yield "; ".join([f"{task.title or task.name}: {source}", *sizes, *data.notes]) + "."

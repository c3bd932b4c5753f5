"""Layouts that depend on the records."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench import resources
from bench.errors import unknown_name
from bench.records.schema import Record
from bench.suites import Layout, MetricLayout, RowLayout, TaskLayout, load_suite

MAIN_METRICS = (
    *("PPL", "ELBO", "Excess", "KL", "MI", "AU"),
    *("BLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L", "BERTScore"),
    *("CND", "MAUVE", "Self-BLEU", "Dist-2", "Jaccard"),
    *("Self-BLEU[source]", "Dist-2[source]", "Jaccard[source]"),
)
"""Columns of the default layout, where measured: those of the papers' tables, and the excess above the entropy."""


def narrow_layout(layout: Layout, records: Sequence[Record]) -> Layout | None:
    """Returns the layout without rows and tasks that have no record; None if no row or no task has one."""
    labels, tasks = {record.label for record in records}, {record.task for record in records}
    rows = tuple(row for row in layout.rows if row.label in labels)
    groups = tuple(task for task in layout.tasks if task.name in tasks)
    return layout.model_copy(update={"rows": rows, "tasks": groups}) if rows and groups else None


def choose_from_layout(
    layout: Layout,
    records: Sequence[Record],
    *,
    systems: Sequence[str] = (),
    tasks: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> Layout:
    """Returns the layout with the named rows, tasks and columns, in this order; without names all of them.

    A name without a place in the layout gets one if there are records of it.

    Raises:
        BenchError: no record has a named system, task or metric.
    """
    labels, names = {record.label for record in records}, {record.task for record in records}
    scores = {score.name for record in records for score in record.metrics}
    rows = {row.label: row for row in layout.rows}
    groups = {task.name: task for task in layout.tasks}
    columns = {metric.name: metric for metric in layout.metrics}
    for kind, chosen, allowed in (
        ("system in these records", systems, labels),
        ("task in these records", tasks, names),
        ("metric in these records", metrics, scores | columns.keys()),
    ):
        for name in chosen:
            if name not in allowed:
                raise unknown_name(kind, name, allowed)
    return layout.model_copy(
        update={
            "rows": tuple(rows.get(label) or RowLayout(label=label) for label in systems) or layout.rows,
            "tasks": tuple(groups.get(name) or TaskLayout(name=name) for name in tasks) or layout.tasks,
            "metrics": tuple(columns.get(name) or MetricLayout(name=name) for name in metrics) or layout.metrics,
        }
    )


def without_published(layout: Layout) -> Layout:
    """Returns the layout without published figures."""
    rows = tuple(row.model_copy(update={"published": ()}) for row in layout.rows)
    tasks = tuple(task.model_copy(update={"published": None}) for task in layout.tasks)
    return layout.model_copy(update={"rows": rows, "tasks": tasks})


def default_layout(records: Sequence[Record]) -> Layout:
    """Returns all systems x all tasks of the records with the main metrics among those measured."""
    measured = dict.fromkeys(score.name for record in records for score in record.metrics)
    titles = {record.task: record.data.title for record in records}
    return Layout(
        rows=tuple(RowLayout(label=label) for label in sorted({record.label for record in records})),
        tasks=tuple(TaskLayout(name=name, title=titles[name]) for name in sorted(titles)),
        metrics=tuple(MetricLayout(name=name) for name in MAIN_METRICS if name in measured)
        or tuple(MetricLayout(name=name) for name in measured or MAIN_METRICS[:1]),
    )


def complete_layout(records: Sequence[Record]) -> Layout:
    """Returns a layout with all systems, tasks and metrics of the records, but those of single latent groups.

    Titles and published figures are those of the suite of the package that has a place for most of the records, or
    else most of their labels.
    """
    layouts = [layout for name in resources.names("suites") if (layout := load_suite(name).layout) is not None]
    suite = max(layouts, key=lambda layout: (*_places(layout, records), -len(layout.rows) * len(layout.tasks)))
    default = default_layout(records)
    titles = {task.name: task.title for task in default.tasks}
    rows = {row.label: row for row in suite.rows if any(row.label == record.label for record in records)}
    tasks = {
        task.name: task.model_copy(update={"title": task.title or titles[task.name]})
        for task in suite.tasks
        if rows and task.name in titles
    }
    printed = {metric.name: metric.published for metric in suite.metrics}
    measured = sorted({score.name for record in records for score in record.metrics})
    others = [name for name in measured if not re.search(r" floor$|\[\d+\]$", name)]
    names = dict.fromkeys([*(metric.name for metric in default.metrics), *others])
    return Layout(
        rows=(*rows.values(), *(row for row in default.rows if row.label not in rows)),
        tasks=(*tasks.values(), *(task for task in default.tasks if task.name not in tasks)),
        metrics=tuple(MetricLayout(name=name, published=printed.get(name)) for name in names),
    )


def _places(layout: Layout, records: Sequence[Record]) -> tuple[int, int]:
    """Returns for how many records the layout has a row and a task, and for how many a row."""
    labels, tasks = {row.label for row in layout.rows}, {task.name for task in layout.tasks}
    with_row = [record for record in records if record.label in labels]
    return sum(record.task in tasks for record in with_row), len(with_row)

"""The leaderboard: for each task of a layout its rows from best to worst, and the rows that no other row beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

from bench.escape import markdown
from bench.records.doubts import TrainingEnd
from bench.records.schema import Record
from bench.report.build import build_table
from bench.report.layout import narrow_layout, without_published
from bench.report.render_markdown import render_markdown
from bench.suites import Layout

RANKED_BY: Final = ("Excess", "PPL")
"""The first of these metrics that all runs of a task have ranks its rows, lowest first."""

FRONTS: Final = (("MI", RANKED_BY, -1), ("Dist-2", ("BLEU-all", "BLEU"), 1))
"""Pairs of metrics that are compared: one that should be high, and the first of the others that is measured.

The sign is 1 if the others should be high too, and -1 if they should be low.
"""


def render_leaderboard(records: Sequence[Record], layout: Layout, ends: Mapping[str, TrainingEnd] | None = None) -> str:
    """Returns Markdown: for each task that has runs a table from best to worst, and its fronts.

    A row is on a front if no other row is better in one of the two metrics and at least as good in the other, by the
    means over seeds.

    Raises:
        BenchError: as ``build_table``.
    """
    return "\n".join(_lines(records, without_published(layout), ends or {}))


def _lines(records: Sequence[Record], layout: Layout, ends: Mapping[str, TrainingEnd]) -> Iterator[str]:
    for task in layout.tasks:
        of_task = [record for record in records if record.task == task.name]
        narrow = narrow_layout(layout.model_copy(update={"tasks": (task,), "title": "", "caption": ""}), of_task)
        if narrow is None:
            continue
        means = {row.label: _means(of_task, row.label, layout.split) for row in narrow.rows}
        ranked = next((name for name in RANKED_BY if all(name in of_row for of_row in means.values())), None)
        if ranked is not None:
            rows = sorted(narrow.rows, key=lambda row: means[row.label][ranked])
            narrow = narrow.model_copy(update={"rows": tuple(rows)})
        yield render_markdown(build_table(of_task, narrow, ends=ends))
        titles = {row.label: row.title or row.label for row in narrow.rows}
        for name, others, sign in FRONTS:
            against = next((other for other in others if any(other in of_row for of_row in means.values())), None)
            if against is not None and (front := _front(means, name, against, sign)):
                shown = (f"{titles[label]} ({name} {x:.3g}, {against} {y:.3g})" for label, x, y in front)
                text = f"No row has a better {name} and a better {against} than {'; '.join(shown)}."
                yield f"- {markdown(text)}"
        yield ""


def _means(records: Sequence[Record], label: str, split: str) -> dict[str, float]:
    """Returns the mean over seeds of each metric of a row."""
    values: dict[str, list[float]] = {}
    for record in records:
        for score in record.metrics if record.label == label and record.status == "finished" else ():
            if score.split == split:
                values.setdefault(score.name, []).append(score.value)
    return {name: fmean(of_metric) for name, of_metric in values.items()}


def _front(
    means: Mapping[str, Mapping[str, float]], name: str, against: str, sign: int
) -> list[tuple[str, float, float]]:
    """Returns label and both values of the rows that no other row beats, from the highest ``name`` down."""
    points = [
        (label, of_row[name], of_row[against]) for label, of_row in means.items() if {name, against} <= of_row.keys()
    ]

    def beaten(x: float, y: float) -> bool:
        return any(a >= x and sign * b >= sign * y and (a, b) != (x, y) for _, a, b in points)

    return sorted((point for point in points if not beaten(*point[1:])), key=lambda point: -point[1])

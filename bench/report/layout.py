"""Which runs make a table: its rows, column groups and columns, and the printed figures beside them.

A layout is the ``layout`` key of a suite file ``bench/suites/<name>.yaml``; its title is the suite's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.errors import BenchError
from bench.reading import parse_as
from bench.records.schema import Record
from bench.resources import read

MAIN_METRICS = (
    *("PPL", "ELBO", "Excess", "KL", "MI", "AU"),
    *("BLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L", "BERTScore"),
    *("CND", "MAUVE", "Self-BLEU", "Dist-2", "Jaccard"),
    *("Self-BLEU[source]", "Dist-2[source]", "Jaccard[source]"),
)
"""The columns of the papers' tables, and the distance to the known floor; a default layout shows those measured."""


class _Part(BaseModel):
    """A frozen piece of a layout; where only its first field is needed, a bare string will do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        return {next(iter(cls.model_fields)): data} if isinstance(data, str) else data


class PublishedTable(_Part):
    """A printed table: key of the paper, and where in it."""

    paper: str
    table: str


class PublishedData(PublishedTable):
    """A printed table, and how it calls the data of a task."""

    dataset: str


class PublishedRow(_Part):
    """A row of the printed tables; of another table than the task's where ``source`` says so."""

    model: str
    variant: str = ""
    source: PublishedTable | None = None


class RowLayout(_Part):
    """A row: the label of a system, how the table calls it, and its published row, or rows where data sets differ."""

    label: str
    title: str | None = None
    published: tuple[PublishedRow, ...] = ()

    @field_validator("published", mode="before")
    @classmethod
    def _from_one(cls, data: Any) -> Any:
        return data if isinstance(data, list | tuple) else (data,)


class TaskLayout(_Part):
    """A group of columns: the name of a task, how the table calls it, and the printed table beside it."""

    name: str
    title: str | None = None
    published: PublishedData | None = None


class MetricLayout(_Part):
    """A column in every group: the name of a metric, how the table calls it, and how the paper calls it.

    An ``optional`` column is left out of the groups in which no run has a value.
    """

    name: str
    title: str | None = None
    published: str | None = None
    optional: bool = False


class Layout(_Part):
    """A table.

    Attributes:
        title: heading of the table.
        rows: systems, top to bottom.
        tasks: groups of columns, left to right.
        metrics: columns of every group.
        others: whether systems that have runs of these tasks but no row here get one, below the named ones.
        split: the split whose scores are shown.
        caption: what the table is, in a sentence.
    """

    title: str = ""
    rows: tuple[RowLayout, ...] = Field(min_length=1)
    tasks: tuple[TaskLayout, ...] = Field(min_length=1)
    metrics: tuple[MetricLayout, ...] = Field(min_length=1)
    others: bool = True
    split: str = "test"
    caption: str = ""

    def narrowed(self, records: Sequence[Record]) -> Layout | None:
        """Returns the layout without the rows and tasks that ``records`` have nothing for; None if nothing is left."""
        labels, tasks = {record.label for record in records}, {record.task for record in records}
        rows = tuple(row for row in self.rows if row.label in labels)
        groups = tuple(task for task in self.tasks if task.name in tasks)
        return self.model_copy(update={"rows": rows, "tasks": groups}) if rows and groups else None


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


def load_layout(suite: str) -> Layout:
    """Reads the layout of a suite: a name such as ``table8``, or the path of a YAML file.

    Raises:
        BenchError: no such suite, or its layout is missing or wrong; the offending key is named.
    """
    content = read("suites", suite)
    if not isinstance(content.get("layout"), dict):
        raise BenchError(f"suite {suite}: has no layout")
    return parse_as(Layout, {"title": content.get("title", ""), **content["layout"]}, f"suite {suite}: layout")

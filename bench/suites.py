"""Suites, by name or from YAML files: which runs make a table, and the layout of that table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from bench import resources
from bench.errors import BenchError
from bench.escape import LONGEST_NAME
from bench.reading import parse_as
from bench.specs import Spec, SweepSpec


class LayoutEntry(Spec):
    """A piece of a layout; a bare string stands for its first field."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        return {next(iter(cls.model_fields)): data} if isinstance(data, str) else data


class PublishedTable(LayoutEntry):
    """A printed table: key of the paper, and name of the table in it."""

    paper: str
    table: str


class PublishedDataset(PublishedTable):
    """A data set in a printed table, by its name there."""

    dataset: str


class PublishedRow(LayoutEntry):
    """A row of the printed tables.

    Attributes:
        model: its model as printed.
        variant: its variant as printed.
        source: the table it stands in, if that is not the table beside the task.
    """

    model: str
    variant: str = ""
    source: PublishedTable | None = None


class RowLayout(LayoutEntry):
    """A row of a table.

    Attributes:
        label: label of the system.
        title: name in the table.
        published: the printed rows beside it, several where its name differs between data sets.
    """

    label: str
    title: str | None = None
    published: tuple[PublishedRow, ...] = ()

    @field_validator("published", mode="before")
    @classmethod
    def _as_list(cls, data: Any) -> Any:
        return data if isinstance(data, list | tuple) else (data,)


class TaskLayout(LayoutEntry):
    """A group of columns: the name of a task, its name in the table, and the printed table beside it."""

    name: str
    title: str | None = None
    published: PublishedDataset | None = None


class MetricLayout(LayoutEntry):
    """A column in every group.

    Attributes:
        name: of the metric.
        title: its name in the table.
        published: its name in the printed tables.
        optional: whether the groups in which no run has a value leave the column out.
    """

    name: str
    title: str | None = None
    published: str | None = None
    optional: bool = False


class Layout(LayoutEntry):
    """The rows and columns of a table, and the printed figures beside them.

    Attributes:
        title: heading of the table.
        rows: systems, top to bottom.
        tasks: groups of columns, left to right.
        metrics: columns of every group.
        others: whether systems without a row that have runs of these tasks get one, below the others.
        split: the split of the data whose scores are printed.
        caption: a sentence or more below the table.
    """

    title: str = ""
    rows: tuple[RowLayout, ...] = Field(min_length=1)
    tasks: tuple[TaskLayout, ...] = Field(min_length=1)
    metrics: tuple[MetricLayout, ...] = Field(min_length=1)
    others: bool = False
    split: str = "test"
    caption: str = ""


class Suite(Spec):
    """Which runs make a table.

    Attributes:
        name: by default that of the file; names the table and the default folder of the runs.
        title: one line.
        layout: rows and columns of its table; has the title of the suite unless it has its own.
        systems: labels, each ``system[:option,...][+objective part...][@key=value,...]``; by default the rows of the
            layout.
        tasks: registered names; by default the tasks of the layout.
        seeds: one run per seed.
        sweep: how the learning rate of each row is chosen before its runs; by default it is that of the scale.
    """

    name: str
    title: str = ""
    layout: Layout | None = None
    systems: tuple[str, ...] = Field(default_factory=lambda fields: _in_layout(fields, "rows", "label"), min_length=1)
    tasks: tuple[str, ...] = Field(default_factory=lambda fields: _in_layout(fields, "tasks", "name"), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=10**18)], ...] = Field((0,), min_length=1)
    sweep: SweepSpec | None = None

    @field_validator("name")
    @classmethod
    def _without_path(cls, name: str) -> str:
        if name in (".", "..", "") or re.search(r"[/\\]", name) or not name.isprintable():
            raise BenchError(f"{name!r}: a name is not empty and has no path in it.")
        if len(name.encode()) > LONGEST_NAME:
            raise BenchError(f"{name[:20]!r}…: a name has at most {LONGEST_NAME} bytes.")
        return name

    @field_validator("layout", mode="before")
    @classmethod
    def _with_title(cls, layout: Any, info: ValidationInfo) -> Any:
        return {"title": info.data.get("title", ""), **layout} if isinstance(layout, dict) else layout

    @field_serializer("layout")
    def _as_written(self, layout: Layout | None) -> dict[str, Any] | None:
        return None if layout is None else layout.model_dump(mode="json", exclude_unset=True)


def _in_layout(fields: dict[str, Any], entries: str, name: str) -> tuple[str, ...]:
    layout = fields["layout"]
    return tuple(getattr(entry, name) for entry in getattr(layout, entries)) if layout else ()


def load_suite(name: str) -> Suite:
    """Returns a suite by name, or from a YAML file.

    Raises:
        BenchError: neither a suite nor a file, or a file that is not a suite.
    """
    return parse_as(Suite, {"name": Path(name).stem, **resources.read("suites", name)}, f"suite {name!r}")

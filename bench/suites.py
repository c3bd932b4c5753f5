"""Which runs make a table, and how it is set: the suites, by name or from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench import resources
from bench.reading import parse_as
from bench.specs import (
    Spec,
)


class Suite(Spec):
    """Which runs make a table.

    Attributes:
        name: of the file.
        title: one line.
        systems: labels, each ``system[:option,...][+objective part...][@backbone key=value,...]``.
        tasks: registered names.
        seeds: one run per seed.
        layout: how its table is set; read by the report. Where ``systems`` or ``tasks`` are not given, they are its
            rows and groups of columns.
    """

    name: str
    title: str = ""
    systems: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    layout: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _run_what_is_shown(cls, data: dict[str, Any]) -> dict[str, Any]:
        layout = data.get("layout")
        if not isinstance(layout, dict):
            return data
        shown = {"systems": ("rows", "label"), "tasks": ("tasks", "name")}
        return {key: _names(layout.get(part), name) for key, (part, name) in shown.items() if part in layout} | data


def load_suite(name: str) -> Suite:
    """Returns a suite by name, or from a YAML file.

    Raises:
        BenchError: neither a suite nor a file, or a file that is not a suite.
    """
    return parse_as(Suite, {"name": Path(name).stem, **resources.read("suites", name)}, f"suite {name!r}")


def _names(entries: Any, key: str) -> Any:
    """Returns the names in a list of a layout, whose entries are names or mappings with one under ``key``."""
    if not isinstance(entries, list):
        return entries
    return [entry.get(key) if isinstance(entry, dict) else entry for entry in entries]

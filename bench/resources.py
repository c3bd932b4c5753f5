"""YAML files: those of the package by name, others by path."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from bench.errors import unknown_name
from bench.reading import read_yaml

Folder = Literal["suites", "scales", "corpora"]
SUFFIXES = (".yaml", ".yml")
_SINGULAR: Mapping[Folder, str] = {"suites": "suite", "scales": "scale", "corpora": "corpus"}


def names(folder: Folder) -> tuple[str, ...]:
    """Returns the names of the packaged files, sorted."""
    return tuple(sorted(Path(f.name).stem for f in (files("bench") / folder).iterdir() if f.name.endswith(SUFFIXES)))


def read(folder: Folder, name: str) -> dict[str, Any]:
    """Returns the content of a packaged file, or of the YAML file at the path ``name``.

    Raises:
        BenchError: no such name or file, or the file does not hold a mapping.
    """
    source: Traversable = Path(name)
    if not name.endswith(SUFFIXES):
        if name not in names(folder):
            raise unknown_name(_SINGULAR[folder], name, names(folder))
        source = files("bench") / folder / f"{name}.yaml"
    return read_yaml(source)

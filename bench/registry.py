"""From names to components: lazy, typed, open to other packages through entry points.

An entry point of its group names a component; the systems of this suite are entry points too. A component is imported
when it is requested by name.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar, cast

from bench.errors import BenchError, reason_of, unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Components of one kind by name.

    Attributes:
        kind: the word for such a component in messages, for example ``system``.
        builtin: name to ``"module:attribute"`` of the components that belong to the harness.
        group: entry-point group in which packages, this one included, offer more.
    """

    kind: str
    builtin: Mapping[str, str]
    group: str
    _merged: list[tuple[tuple[EntryPoint, ...], dict[str, EntryPoint]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def entries(self) -> dict[str, EntryPoint]:
        """Returns the entry point of every name; imports nothing.

        Raises:
            BenchError: two packages offer different components under one name.
        """
        installed = _installed(self.group)
        if self._merged and self._merged[0][0] is installed:
            return dict(self._merged[0][1])
        entries = {name: EntryPoint(name, value, self.group) for name, value in self.builtin.items()}
        for entry in installed:
            if entry.name in entries and entries[entry.name].value != entry.value:
                raise BenchError(
                    f"two {self.kind}s are called {entry.name!r}: {entries[entry.name].value} and {entry.value}."
                    " Uninstall or rename one."
                )
            entries[entry.name] = entry
        self._merged[:] = [(installed, dict(sorted(entries.items())))]
        return dict(self._merged[0][1])

    def names(self) -> tuple[str, ...]:
        """Returns the registered names, sorted."""
        return tuple(self.entries())

    def summaries(self) -> dict[str, str]:
        """Returns the first line of each docstring (of a variable: below it), read from the source, not imported."""
        return {name: _summary(entry.value) for name, entry in self.entries().items()}

    def get(self, name: str) -> T:
        """Imports and returns the component.

        Raises:
            BenchError: the name is not registered, or its module cannot be imported.
        """
        entries = self.entries()
        if name not in entries:
            raise unknown_name(self.kind, name, entries)
        return cast(T, load(self.kind, name, entries[name].value))

    def all(self) -> tuple[dict[str, T], dict[str, str]]:
        """Imports all components; returns them by name, sorted, and the reasons why others cannot be imported."""
        components: dict[str, T] = {}
        reasons: dict[str, str] = {}
        for name, entry in self.entries().items():
            try:
                components[name] = cast(T, load(self.kind, name, entry.value))
            except BenchError as error:
                reasons[name] = str(error)
        return components, reasons


def _installed(group: str) -> tuple[EntryPoint, ...]:
    """Returns the entry points of a group; the folders of packages are searched again only after one has changed."""
    return _search(entry_points, group, tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=64)
def _search(
    search: Callable[..., Iterable[EntryPoint]], group: str, folders: tuple[tuple[str, int], ...]
) -> tuple[EntryPoint, ...]:
    return tuple(search(group=group))


def _changed(folder: str) -> int:
    """Returns when a folder was last changed, 0 if there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116  # a Path takes longer to make than all the rest
    except OSError:
        return 0


@cache
def load(kind: str, name: str, value: str) -> object:
    """Imports and returns the object that ``value`` names as ``module:attribute``.

    Raises:
        BenchError: there is no such module or attribute, or importing it fails; names ``kind`` and ``name``.
    """
    module, _, attribute = value.partition(":")
    try:
        component: object = import_module(module)
        for name_inside in attribute.split("."):
            component = getattr(component, name_inside)
    except (Exception, SystemExit) as error:  # the module of another package may fail in any way
        raise BenchError(f"{kind} {name!r} cannot be loaded from {value!r}: {reason_of(error)}") from error
    return component


def _summary(value: str) -> str:
    module, _, attribute = value.partition(":")
    source = source_file(module)
    if source is None:
        return ""
    try:
        body = ast.parse(source.read_bytes()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):  # a broken package must not break the list
        return ""
    for node, after in zip(body, [*body, None][1:], strict=True):
        match node, after:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name), _ if name == attribute:
                return (ast.get_docstring(node) or "").partition("\n")[0]
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(ast.Constant(str(text))) if name == attribute:
                return text.partition("\n")[0]
    return ""


def source_file(module: str) -> Path | None:
    """Returns the file of a module without importing its package, as ``find_spec`` of the module would."""
    package, *inner = module.split(".")
    spec = find_spec(package)
    if spec is None:
        return None
    if inner:
        stems = [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
        files = [file for stem in stems for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")]
    else:
        files = [Path(spec.origin or "")]
    return next((file for file in files if file.suffix == ".py" and file.is_file()), None)

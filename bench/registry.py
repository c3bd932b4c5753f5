"""From names to components: lazy, typed, open to other packages through entry points.

An entry point of its group names a component; the systems of this suite are entry points too. A component is imported
when it is requested by name.
"""

from __future__ import annotations

import ast
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar, cast

from bench.errors import BenchError, reason_of, unknown_name

logger = logging.getLogger(__name__)

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
    _merged: list[tuple[tuple[EntryPoint, ...], dict[str, list[EntryPoint]]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def entries(self) -> dict[str, EntryPoint]:
        """Returns the entry point of every name, the first if packages offer different components; imports nothing."""
        return {name: claims[0] for name, claims in self._claims().items()}

    def _claims(self) -> dict[str, list[EntryPoint]]:
        """Returns the different entry points of every name, sorted by name, without those that name no module."""
        installed = _installed(self.group)
        if not (self._merged and self._merged[0][0] is installed):
            claims = {name: [EntryPoint(name, value, self.group)] for name, value in self.builtin.items()}
            for entry in installed:
                of_name = claims.setdefault(entry.name, [])
                if entry.value not in [other.value for other in of_name]:
                    of_name.append(entry)
            self._merged[:] = [(installed, dict(sorted(claims.items())))]
        return self._merged[0][1]

    def names(self) -> tuple[str, ...]:
        """Returns the registered names, sorted."""
        return tuple(self.entries())

    def summaries(self) -> dict[str, str]:
        """Returns the first line of each docstring (of a variable: below it), read from the source, not imported."""
        return {name: _summary(entry.value) for name, entry in self.entries().items()}

    def get(self, name: str) -> T:
        """Imports and returns the component.

        Raises:
            BenchError: the name is not registered, packages offer different components under it, or the module of the
                component cannot be imported.
        """
        entries = self.entries()
        if name not in entries:
            raise unknown_name(self.kind, name, entries)
        value = entries[name].value
        if others := [entry.value for entry in self._claims().get(name, ()) if entry.value != value]:
            raise BenchError(f"two {self.kind}s are called {name!r}: {value} and {others[0]}. Uninstall or rename one.")
        return cast(T, load(self.kind, name, value))

    def all(self) -> tuple[dict[str, T], dict[str, str]]:
        """Imports all components; returns them by name, sorted, and the reasons why others cannot be imported."""
        components: dict[str, T] = {}
        reasons: dict[str, str] = {}
        for name in self.names():
            try:
                components[name] = self.get(name)
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
    """Returns the entry points of a group that name a module; a package whose metadata cannot be read offers none."""
    try:
        found = list(search(group=group))
    except Exception:  # noqa: BLE001  # importlib expects that all metadata are valid
        found = [entry for of_package in map(_of_package, distributions()) for entry in of_package]
    return tuple(entry for entry in found if entry.group == group and entry.pattern.match(entry.value))


def _changed(folder: str) -> int:
    """Returns when a folder was last changed, 0 if there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116  # a Path takes longer to make than all the rest
    except OSError:
        return 0


def _of_package(package: Distribution) -> Sequence[EntryPoint]:
    try:
        return tuple(package.entry_points)
    except Exception as error:  # noqa: BLE001
        logger.warning("the entry points of a package cannot be read: %s", reason_of(error))
        return ()


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
    try:
        source = source_file(module)
    except Exception:  # noqa: BLE001  # find_spec refuses names in many ways
        return ""
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

"""Golden values: what each component computes on a fixed input, stored beside its version.

A kind of components has one file in ``values``. A value may move only together with the version of its component, so
that no record of the old numbers is taken for one of the new.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.harness.code import OURS
from bench.registry import Registry

FOLDER = Path(__file__).with_name("values")
COMMAND = "python -m tests.goldens"

IN_DOUBLE = 1e-9
"""Tolerance in float64. Other instruction sets and threads add in another order, which moves a value by 4e-15 of it."""

DROPOUT = None if torch.backends.mkl.is_available() else "the draws of dropout and sampling are those of torch with MKL"
"""Why kinds with dropout or sampling cannot be compared here; None where they can."""


@dataclass(frozen=True)
class Golden:
    """What a component computes.

    Attributes:
        version: of the component; None if the record of a run holds what it computes, so that it needs none.
        place: where the version is raised; the place of its code if it has none.
        values: numbers and words, or (nested) lists of them, by name.
        reason: why the values moved without the version, the last time they did.
    """

    version: int | None
    place: str
    values: Mapping[str, Any]
    reason: str | None = None

    def move(self, after: Golden, tolerance: float) -> str | None:
        """Returns what moved to ``after`` without a raised version, or None."""
        if (self.version is None) != (after.version is None) or (after.version or 0) < (self.version or 0):
            return f"the version was {self.version} and is {after.version}"
        if after.version != self.version:
            return None
        old, new = (
            dict(_flat({name: golden.values.get(name, "gone") for name in self.values})) for golden in (self, after)
        )
        changes = [
            f"{name} was {old.get(name, 'absent')!r} and is {new.get(name, 'gone')!r}"
            for name in {**old, **new}
            if name not in old or name not in new or not _same(old[name], new[name], tolerance)
        ]
        return f"{changes[0]}; {len(changes)} of {len(old)} values" if changes else None


@dataclass(frozen=True)
class Kind:
    """Components of one kind.

    Attributes:
        name: the word for such a component, and the name of its file.
        names: returns the names of all components.
        measure: returns what a component computes.
        tolerance: absolute and relative, with its reason where it is set.
        incomparable: why the values cannot be compared on this machine; None if they can.
        exempt: the reason for each component without a golden value.
    """

    name: str
    names: Callable[[], Iterable[str]]
    measure: Callable[[str], Golden]
    tolerance: float = IN_DOUBLE
    incomparable: str | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)

    def required(self) -> list[str]:
        """Returns the names of the components that have golden values."""
        return sorted(set(self.names()) - self.exempt.keys())

    def file(self, folder: Path = FOLDER) -> Path:
        """Returns the file of the golden values."""
        return folder / f"{self.name.replace(' ', '_')}.json"

    def stored(self, folder: Path = FOLDER) -> dict[str, Golden]:
        """Returns the golden values of the file, by component."""
        file = self.file(folder)
        entries = json.loads(file.read_text()) if file.exists() else {}
        return {name: Golden(place="", **entry) for name, entry in entries.items()}

    def problem(self, name: str, before: Golden | None, after: Golden) -> str | None:
        """Returns why the golden values of a component do not stand, and what to do; None if they do."""
        if before is None:
            return f"{self.name}: {name!r} has no golden value. Run: {COMMAND}"
        if (move := before.move(after, self.tolerance)) is not None:
            at = "without a version" if after.version is None else f"at version {after.version}"
            raised = "Change back" if after.version is None else f"Raise {after.place}, or change back"
            return (
                f"{self.name}: {name!r} moved {at}: {move}. {raised}; where no number of a run moved (the input of the"
                f" golden value did), give the reason: {COMMAND} --reason REASON"
            )
        if before.version != after.version or before.values.keys() != after.values.keys():
            what = f"version {before.version}" if before.version != after.version else "fewer values"
            return f"{self.name}: {name!r} is stored with {what}. Run: {COMMAND}"
        return None

    def write(self, reason: str | None = None, folder: Path = FOLDER) -> list[str]:
        """Writes the file anew, unless a value moved and its version did not; returns what moved so.

        Values that stand are kept to the last digit.

        Args:
            reason: why the moves are right; then they are written, with the reason.
            folder: of the file.
        """
        stored, new, moves = self.stored(folder), dict[str, Golden](), list[str]()
        for name in self.required():
            before, after = stored.get(name), _as_stored(self.measure(name))
            if before is None or (before.version != after.version and before.move(after, self.tolerance) is None):
                new[name] = after
            elif before.move(after, self.tolerance) is None:
                new[name] = Golden(after.version, after.place, {**after.values, **before.values}, before.reason)
            else:
                moves.append(str(self.problem(name, before, after)))
                new[name] = Golden(after.version, after.place, after.values, reason)
        if reason is not None or not moves:
            folder.mkdir(exist_ok=True)
            self.file(folder).write_text(_text(new))
            return []
        return moves


def place_of(component: Any, attribute: str = "version") -> str:
    """Returns where the version of a class or an object is raised."""
    cls = component if isinstance(component, type) else type(component)
    return f"{attribute} of {cls.__qualname__} in {cls.__module__}"


def own_names(registry: Registry[Any]) -> list[str]:
    """Returns the registered components of this distribution; another package keeps golden values of its own."""
    return [name for name, entry in registry.entries().items() if entry.module.partition(".")[0] in OURS]


def _as_stored(golden: Golden) -> Golden:
    return Golden(golden.version, golden.place, json.loads(json.dumps(golden.values)))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the numbers and words, each with its name, such as ``kl[2]``."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{index}]")
    else:
        yield name, value


def _same(old: Any, new: Any, tolerance: float) -> bool:
    if isinstance(old, float) and isinstance(new, float | int):
        return math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)
    return bool(old == new)


def _text(goldens: Mapping[str, Golden]) -> str:
    """Returns JSON with a line for each value, so that a diff shows what moved."""
    entries = []
    for name, golden in goldens.items():
        values = [f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.values.items()]
        reason = [] if golden.reason is None else [f'    "reason": {json.dumps(golden.reason)},']
        head = [
            f"  {json.dumps(name)}: {{",
            f'    "version": {json.dumps(golden.version)},',
            *reason,
            '    "values": {',
        ]
        entries.append("\n".join([*head, ",\n".join(values), "    }", "  }"]))
    return "{\n" + ",\n".join(entries) + "\n}\n"

"""Entries in which runs differ, and the rule that equal runs count once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from bench.errors import BenchError
from bench.records.schema import Record
from bench.specs import NO_IDENTITY

ItemT = TypeVar("ItemT")
Differences = Mapping[str, tuple[Any, Any]]
"""Dotted key of an entry to its value in the first and in the second run; None where a run lacks it."""

_MOST_ENTRIES = 4
_IGNORED = frozenset(f"spec.{section}.{key}" for section, key in NO_IDENTITY)


def differences(first: Record, second: Record) -> Differences:
    """Returns the entries of spec, components and data in which two runs differ, of those that can change a result."""
    a, b = (
        {"spec": run.spec, "components": run.components, "data": {"sha256": run.data.sha256}} for run in (first, second)
    )
    return {key: values for key, values in _different(a, b, "") if key not in _IGNORED}


def describe(entries: Differences) -> str:
    """Returns the entries with both values, for example ``spec.training.epochs (4 and 9)``; the first few of many."""
    texts = [f"{key} ({_short(a)} and {_short(b)})" for key, (a, b) in entries.items()]
    more = [f"{len(texts) - _MOST_ENTRIES} more"] if len(texts) > _MOST_ENTRIES else []
    return ", ".join([*texts[:_MOST_ENTRIES], *more])


def distinct_runs(items: Iterable[ItemT], record_of: Callable[[ItemT], Record]) -> list[ItemT]:
    """Returns the items without repetitions of the same run.

    Raises:
        BenchError: two records have one run id and different content.
    """
    by_id: dict[str, ItemT] = {}
    for item in items:
        record = record_of(item)
        known = record_of(by_id.setdefault(record.run_id, item))
        if known is record:
            continue
        if entries := dict(_different(known.measurement(), record.measurement(), "")):
            raise BenchError(
                f"two records of {record.task} {record.label} have the run id {record.run_id} and differ in"
                f" {describe(entries)}; keep one of them"
            )
    return list(by_id.values())


def same_key_error(key: str, first: Record, second: Record) -> BenchError:
    """Returns the error for two runs that have the same place in a table or a comparison."""
    return BenchError(
        f"{key}: runs {first.run_id} and {second.run_id} differ in {describe(differences(first, second))};"
        " keep one of them, or record them in different folders (--out)"
    )


def _different(first: Any, second: Any, key: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields key and values of all entries that differ; a section that only one side has is one entry."""
    if first == second:
        return
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from _different(first.get(name), second.get(name), f"{key}.{name}" if key else str(name))
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            name = a.get("name", number) if isinstance(a, Mapping) else number
            yield from _different(a, b, f"{key}.{name}")
    else:
        yield key, (first, second)


def _short(value: Any) -> str:
    return "a section" if isinstance(value, Mapping | list) else str(value)

"""What a user accepts as incomparable (``--allow``), so that it does not fail a comparison."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from bench.errors import unknown_name
from bench.records.comparison import OBSTACLES, ComparedSets, Comparison

ANY: Final = "incomparable"
"""Stands for all kinds of obstacles."""


@dataclass(frozen=True)
class Allowance:
    """A kind of obstacle that is accepted.

    Attributes:
        kind: an obstacle, or ``ANY``.
        name: the only metric or benchmark it is accepted for, None for all.
    """

    kind: str
    name: str | None = None

    def covers(self, comparison: Comparison) -> bool:
        """Returns whether the comparison is incomparable in the way that is accepted."""
        return (
            comparison.verdict == "incomparable"
            and self.kind in (ANY, comparison.obstacle)
            and self.name in (None, comparison.name)
        )


@dataclass(frozen=True)
class Allowances:
    """All that is accepted."""

    items: tuple[Allowance, ...] = ()

    def apply(self, compared: ComparedSets) -> ComparedSets:
        """Returns the comparisons, with the verdict ``allowed`` for what is incomparable and accepted."""
        if not self.items:
            return compared
        comparisons = tuple(
            replace(comparison, verdict="allowed")
            if any(each.covers(comparison) for each in self.items)
            else comparison
            for comparison in compared.comparisons
        )
        return replace(compared, comparisons=comparisons)

    @property
    def missing_runs(self) -> bool:
        """Whether the second set may lack runs of the first."""
        return any(each.kind in (ANY, "missing") and each.name in (None, "run") for each in self.items)


def read_allowances(texts: Iterable[str], names: Collection[str]) -> Allowances:
    """Reads ``KIND`` and ``KIND:NAME``, each text one or several at commas.

    Args:
        texts: as the user typed them.
        names: of the metrics or benchmarks that are compared.

    Raises:
        BenchError: a kind or a name is not known.
    """
    items = []
    for text in (part.strip() for each in texts for part in each.split(",")):
        kind, colon, name = (part.strip() for part in text.partition(":"))
        if kind not in OBSTACLES and kind != ANY:
            raise unknown_name("kind of --allow", kind, [ANY, *OBSTACLES])
        if colon and name not in names:
            raise unknown_name(f"name of --allow {kind}", name, names)
        items.append(Allowance(kind, name if colon else None))
    return Allowances(tuple(items))

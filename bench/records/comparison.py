"""The result of comparing two sets: a verdict and a line for each value, one exit code for all values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from bench.metric import Direction

Verdict = Literal["ok", "regression", "improvement", "incomparable", "allowed", "unjudged"]
Obstacle = Literal["missing", "skipped", "signature", "data", "spec", "status", "same", "sizes"]

OBSTACLES: Final[Mapping[Obstacle, str]] = {
    "missing": "a run, metric or benchmark that only one set has",
    "skipped": "a run or metric that one set skipped, or that both skipped for different reasons",
    "signature": "a metric with another signature",
    "data": "a run on other data, or a metric of another number of texts",
    "spec": "runs with other settings or other versions of components; their values are compared all the same",
    "status": "runs that are finished in neither set: failed, or not for the same reason",
    "same": "one run, not two: the same file or a copy of it; its values are compared all the same",
    "sizes": "a benchmark of other sizes",
}
"""What makes runs, metrics or benchmarks incomparable, to its explanation; the names are those of ``--allow``."""

FINE, WORSE, CANNOT_COMPARE = 0, 1, 3
"""Exit codes of a comparison; 2 is a mistake of the user, as everywhere."""

_OF_VALUES: Final[tuple[Verdict, ...]] = ("ok", "regression", "improvement")


@dataclass(frozen=True, kw_only=True)
class Comparison(ABC):
    """One value in the first and in the second set.

    Attributes:
        verdict: ``ok`` if the change is within the tolerance or is noise; ``incomparable`` if there are not two values
            of the same quantity, ``allowed`` if the user accepts this; ``unjudged`` if there is nothing to judge.
        obstacle: what makes it incomparable, None if it is not.
        first: value in the first set, None if it has none.
        second: value in the second set, None if it has none.
        tolerance: relative change that is accepted, infinite if none is judged.
        absolute_tolerance: absolute change that is accepted.
        reason: explains a verdict that the values do not explain.
    """

    verdict: Verdict
    obstacle: Obstacle | None = None
    first: float | None = None
    second: float | None = None
    tolerance: float = 0.0
    absolute_tolerance: float = 0.0
    reason: str = ""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is compared, for example task, label and metric."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The part of the subject that ``--allow`` names: the metric or benchmark."""

    @property
    def note(self) -> str:
        """Printed beside the values; has no influence on the verdict."""
        return ""

    @property
    def change(self) -> float | None:
        """Relative change from first to second, infinite if first is zero; None if a value is missing."""
        if self.first is None or self.second is None:
            return None
        return relative_change(self.first, self.second)

    @property
    def explanation(self) -> str:
        """Tolerance, if there are two values to judge, and note."""
        return ", ".join(filter(None, (self._tolerance_text(), self.note)))

    def _tolerance_text(self) -> str:
        if self.first is None or self.second is None or self.obstacle is not None or math.isinf(self.tolerance):
            return ""
        if self.absolute_tolerance > self.tolerance * abs(self.first):
            return f"tolerance {self.absolute_tolerance:.2g}"
        return f"tolerance {self.tolerance:.2%}" if self.tolerance >= 1e-4 else f"tolerance {self.tolerance:.2g}"

    def __str__(self) -> str:
        line = f"{self.verdict}: {self.subject}"
        if self.change is not None:
            details = ", ".join(filter(None, (f"{self.change:+.2%}", self.explanation)))
            line += f" {self.first:.5g} -> {self.second:.5g} ({details})"
        return f"{line}: {self.reason}" if self.reason else line


@dataclass(frozen=True)
class ComparedSets:
    """All comparisons of two sets.

    Attributes:
        comparisons: in the order of the first set.
        remarks: sentences on the sets as a whole.
    """

    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[Verdict, int]:
        """Number of comparisons of each verdict; 0 where there is none."""
        return Counter(comparison.verdict for comparison in self.comparisons)

    @property
    def nothing_judged(self) -> bool:
        """Whether there is no value that both sets have, so that nothing speaks for the second."""
        return not any(self.counts[verdict] for verdict in _OF_VALUES)

    @property
    def exit_code(self) -> int:
        """``WORSE`` with a regression; else ``CANNOT_COMPARE`` if something is incomparable or nothing was judged."""
        if self.counts["regression"]:
            return WORSE
        return CANNOT_COMPARE if self.counts["incomparable"] or self.nothing_judged else FINE


def judge(
    first: float,
    second: float,
    tolerance: float,
    direction: Direction | None,
    noise: bool = False,
    absolute_tolerance: float = 0.0,
) -> Verdict:
    """Returns the verdict on a change from ``first`` to ``second``.

    Args:
        first: value before.
        second: value after.
        tolerance: relative change that is accepted.
        direction: which way is better; if neither is, a change beyond the tolerance is a regression.
        noise: whether a test attributes the change to chance.
        absolute_tolerance: absolute change that is accepted.
    """
    if noise or within(first, second, tolerance, absolute_tolerance):
        return "ok"
    if direction is None:
        return "regression"
    return "improvement" if (second > first) == (direction == "up") else "regression"


def within(first: float, second: float, tolerance: float, absolute_tolerance: float = 0.0) -> bool:
    """Returns whether a change is within the relative or the absolute tolerance."""
    return abs(relative_change(first, second)) <= tolerance or abs(second - first) <= absolute_tolerance


def relative_change(first: float, second: float) -> float:
    """Returns (second - first) / ``|first|``, infinite if first is zero."""
    if first == second:
        return 0.0
    return (second - first) / abs(first) if first else math.copysign(math.inf, second)


def counts_line(compared: ComparedSets) -> str:
    """Returns the number of each verdict, those that are rare only if there are any."""
    rare: Iterable[Verdict] = ("allowed", "unjudged")
    always: Iterable[Verdict] = ("ok", "regression", "improvement", "incomparable")
    verdicts = [*always, *(verdict for verdict in rare if compared.counts[verdict])]
    return ", ".join(f"{compared.counts[verdict]} {verdict}" for verdict in verdicts)

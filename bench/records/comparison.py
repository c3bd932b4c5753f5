"""The result of comparing two sets: a verdict and a line for each value, one exit code for all values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bench.metric import Direction

Verdict = Literal["ok", "regression", "improvement", "incomparable"]


@dataclass(frozen=True, kw_only=True)
class Comparison(ABC):
    """One value in the first and in the second set.

    Attributes:
        verdict: ``ok`` if the change is within the tolerance or is noise.
        first: value in the first set, None if it has none.
        second: value in the second set, None if it has none.
        tolerance: relative change that is accepted, infinite if none is judged.
        absolute_tolerance: absolute change that is accepted.
        reason: explains a verdict that the values do not explain.
    """

    verdict: Verdict
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
    def note(self) -> str:
        """Printed beside the values; has no influence on the verdict."""
        return ""

    @property
    def change(self) -> float | None:
        """Relative change from first to second, infinite if first is zero; None if a value is missing."""
        if self.first is None or self.second is None:
            return None
        return relative_change(self.first, self.second)

    def __str__(self) -> str:
        line = f"{self.verdict}: {self.subject}"
        if self.change is not None:
            tolerance = f"tolerance {self.tolerance:.2%}" if math.isfinite(self.tolerance) else ""
            if self.first is not None and self.absolute_tolerance > self.tolerance * abs(self.first):
                tolerance = f"tolerance {self.absolute_tolerance:.2g}"
            details = ", ".join(filter(None, (f"{self.change:+.2%}", tolerance, self.note)))
            line += f" {self.first:.5g} -> {self.second:.5g} ({details})"
        return f"{line}: {self.reason}" if self.reason else line


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
    change = relative_change(first, second)
    if abs(change) <= tolerance or abs(second - first) <= absolute_tolerance or noise:
        return "ok"
    if direction is None:
        return "regression"
    return "improvement" if (change > 0) == (direction == "up") else "regression"


def relative_change(first: float, second: float) -> float:
    """Returns (second - first) / ``|first|``, infinite if first is zero."""
    if first == second:
        return 0.0
    return (second - first) / abs(first) if first else math.copysign(math.inf, second)


def exit_code(comparisons: Iterable[Comparison]) -> int:
    """Returns 1 if there is a regression, else 0."""
    return int(any(comparison.verdict == "regression" for comparison in comparisons))

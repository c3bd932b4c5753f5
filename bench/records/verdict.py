"""What comparing two of a kind comes to: a verdict on every figure, a line that says it, an exit code for all."""

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
    """One figure, before and after.

    Attributes:
        verdict: ``ok`` within tolerance or noise, otherwise what happened.
        first: value in the first of the two, None where there is none.
        second: value in the second, None where there is none.
        tolerance: relative change that passes.
        reason: why the verdict is what it is, where figures do not say it.
    """

    verdict: Verdict
    first: float | None = None
    second: float | None = None
    tolerance: float = 0.0
    reason: str = ""

    @property
    @abstractmethod
    def subject(self) -> str:
        """Which figure of what it is."""

    @property
    def note(self) -> str:
        """What is told beside the values and decides nothing, or all there is to tell."""
        return ""

    @property
    def change(self) -> float | None:
        """Relative change from first to second, infinite from zero; None where a value is missing."""
        if self.first is None or self.second is None:
            return None
        return relative_change(self.first, self.second)

    def __str__(self) -> str:
        """One line: verdict, subject, both values, and why."""
        line = f"{self.verdict}: {self.subject}"
        if self.change is not None:
            line += f" {self.first:.5g} -> {self.second:.5g} ({self.change:+.2%}, tolerance {self.tolerance:.2%}"
            line += f", {self.note})" if self.note else ")"
        return f"{line}: {self.reason}" if self.reason else line


def judge(first: float, second: float, tolerance: float, direction: Direction | None, noise: bool = False) -> Verdict:
    """Returns what a move from ``first`` to ``second`` is.

    Args:
        first: value before.
        second: value after.
        tolerance: relative change that passes.
        direction: which way is better; where neither is, a move is a regression: nobody asked for it.
        noise: whether a test found that the move may be none.
    """
    change = relative_change(first, second)
    if abs(change) <= tolerance or noise:
        return "ok"
    if direction is None:
        return "regression"
    return "improvement" if (change > 0) == (direction == "up") else "regression"


def relative_change(first: float, second: float) -> float:
    """Returns (second - first) / ``|first|``, infinite from zero."""
    if first == second:
        return 0.0
    return (second - first) / abs(first) if first else math.copysign(math.inf, second)


def exit_code(comparisons: Iterable[Comparison]) -> int:
    """Returns 1 if anything regressed, else 0."""
    return int(any(comparison.verdict == "regression" for comparison in comparisons))

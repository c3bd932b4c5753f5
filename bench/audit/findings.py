"""What the audit says: where, which rule, which figures, and why they cannot be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Severity = Literal["impossible", "suspicious"]
"""``impossible``: no evaluation gives these figures; ``suspicious``: one could, but look."""


@dataclass(frozen=True)
class Place:
    """Where figures stand.

    Attributes:
        source: key of the paper, or ``records``.
        table: table of the paper, or scale of the run.
        dataset: the data.
        row: the system; empty for a finding about all rows of the data set.
    """

    source: str
    table: str
    dataset: str
    row: str = ""

    @property
    def of_table(self) -> Place:
        """The place of all rows of the same data set in the same table."""
        return replace(self, row="")

    def __str__(self) -> str:
        """For example ``della-2022, Table 8, SNLI: DELLA``."""
        return f"{self.source}, {self.table}, {self.dataset}" + (f": {self.row}" if self.row else "")


@dataclass(frozen=True)
class Finding:
    """One thing that cannot be, or that looks like a mistake.

    Attributes:
        rule: name of the rule.
        severity: how sure it is.
        place: where.
        figures: the figures, as printed.
        reason: why they cannot be.
    """

    rule: str
    severity: Severity
    place: Place
    figures: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the finding as JSON-ready values."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            **vars(self.place),
            "figures": self.figures,
            "reason": self.reason,
        }

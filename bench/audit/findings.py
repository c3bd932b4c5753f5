"""Findings of the audit: location, rule, figures and reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["impossible", "suspicious"]
"""``impossible``: no evaluation gives these figures; ``suspicious``: an evaluation could, but it is unlikely."""


@dataclass(frozen=True)
class Location:
    """A row of a table.

    Attributes:
        source: key of the paper, or ``records``.
        table: table of the paper, or scale of the run.
        dataset: the data set.
        row: the system; empty for all rows of the table on the data set.
    """

    source: str
    table: str
    dataset: str
    row: str = ""

    @property
    def all_rows(self) -> Location:
        """The location of all rows of the same table on the same data set."""
        return replace(self, row="")

    def __str__(self) -> str:
        """For example ``della-2022, Table 8, SNLI: DELLA``."""
        return f"{self.source}, {self.table}, {self.dataset}" + (f": {self.row}" if self.row else "")


@dataclass(frozen=True)
class Finding:
    """Figures that break a rule.

    Attributes:
        rule: name of the rule.
        severity: how certain it is that the figures are wrong.
        location: the row, or all rows of a table.
        figures: the figures, as printed.
        reason: why the figures contradict each other.
    """

    rule: str
    severity: Severity
    location: Location
    figures: str
    reason: str

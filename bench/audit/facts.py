"""Facts about a paper that the rules need besides its figures: ``paper.facts.yaml`` next to ``paper.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.reading import parse_as, read_yaml
from bench.specs import Spec

MOST = 2**53
"""Largest count: no larger one can be exact in the formulas of the rules."""

Count = Annotated[int, Field(ge=0, le=MOST)]


class DatasetFacts(Spec):
    """A data set of a paper.

    Attributes:
        texts: number of texts scored.
        words: mean number of words per text, as printed.
        conditional: whether texts are generated from sources.
    """

    texts: Annotated[int, Field(ge=1, le=MOST)] | None = None
    words: str | None = None
    conditional: bool = False


class Citation(Spec):
    """A row of another paper, as that paper's CSV names it."""

    paper: str
    table: str
    model: str
    variant: str = ""


class RowFacts(Spec):
    """Facts shared by some rows of a paper.

    Attributes:
        model: model of these rows as printed; None for any.
        variant: variant of these rows as printed; None for any.
        latent_size: latent dimensions of all groups together.
        n_groups: number of latent groups.
        max_units: largest number of active units that the paper's way of counting can give.
        cites: the row from which these rows are quoted, on the same data sets.
    """

    model: str | None = None
    variant: str | None = None
    latent_size: Count | None = None
    n_groups: Count | None = None
    max_units: Count | None = None
    cites: Citation | None = None

    def matches(self, model: str, variant: str) -> bool:
        """Returns whether the facts hold for a row."""
        return self.model in (None, model) and self.variant in (None, variant)


class PaperFacts(Spec):
    """Facts about a paper.

    Attributes:
        source: origin of the facts.
        datasets: facts by the paper's name of the data set.
        rows: facts about rows; the first entry that matches a row holds for it.
    """

    source: str = ""
    datasets: dict[str, DatasetFacts] = Field(default_factory=dict)
    rows: tuple[RowFacts, ...] = ()

    @classmethod
    def read_beside(cls, table: Path) -> PaperFacts:
        """Reads the facts beside a CSV of published figures; without such a file there are no facts.

        Raises:
            BenchError: the file is invalid.
        """
        path = table.with_suffix(".facts.yaml")
        return parse_as(cls, read_yaml(path), str(path)) if path.is_file() else cls()

    def of_row(self, model: str, variant: str) -> RowFacts:
        """Returns the facts about a row."""
        return next((facts for facts in self.rows if facts.matches(model, variant)), RowFacts())

"""What the audit must know of a paper beside its figures: ``paper.facts.yaml`` next to ``paper.csv``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bench.reading import parse_as, read_yaml
from bench.specs import Spec


class DatasetFacts(Spec):
    """One data set of a paper.

    Attributes:
        texts: number of texts scored.
        words: mean number of words of a text, as printed.
        conditional: whether texts are conditioned on others.
    """

    texts: int | None = None
    words: str | None = None
    conditional: bool = False


class Citation(Spec):
    """A row of another paper, as that paper's CSV names it."""

    paper: str
    table: str
    model: str
    variant: str = ""


class RowFacts(Spec):
    """Rows of a paper that have something in common.

    Attributes:
        model: the rows' model as printed; any if None.
        variant: their variant as printed; any if None.
        latent_size: latent dimensions in all.
        n_groups: number of latent groups.
        max_units: largest number of active units that the paper's way of counting can give.
        cites: where the rows are quoted from, on the same data sets.
    """

    model: str | None = None
    variant: str | None = None
    latent_size: int | None = None
    n_groups: int | None = None
    max_units: int | None = None
    cites: Citation | None = None

    def describe(self, model: str, variant: str) -> bool:
        """Returns whether a row is one of these."""
        return self.model in (None, model) and self.variant in (None, variant)


class PaperFacts(Spec):
    """What is known of a paper.

    Attributes:
        source: where the facts are from.
        datasets: by the paper's names.
        rows: the first entry that describes a row holds for it.
    """

    source: str = ""
    datasets: dict[str, DatasetFacts] = Field(default_factory=dict)
    rows: tuple[RowFacts, ...] = ()

    @classmethod
    def beside(cls, table: Path) -> PaperFacts:
        """Reads the facts that lie beside a CSV of published figures; no facts where no file lies.

        Raises:
            BenchError: the file is not what it should be.
        """
        path = table.with_suffix(".facts.yaml")
        return parse_as(cls, read_yaml(path), str(path)) if path.is_file() else cls()

    def of_row(self, model: str, variant: str) -> RowFacts:
        """Returns what is known of a row."""
        return next((facts for facts in self.rows if facts.describe(model, variant)), RowFacts())

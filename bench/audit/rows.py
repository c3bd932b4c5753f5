"""A row of figures as the audit sees it, whether it was printed in a paper or recorded by a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from bench.audit.findings import Place
from bench.bootstrap import Array


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        value: the number.
        text: as printed.
        unit: ``%`` and ``count`` bound it; others matter to no rule.
        rounding: by how much the number may differ from the one that was measured.
        interval: over texts, where it has one.
    """

    value: float
    text: str
    unit: str = ""
    rounding: float = 0.0
    interval: tuple[float, float] | None = None

    @classmethod
    def printed(cls, text: str, unit: str = "") -> Figure | None:
        """Reads a printed figure; None where text such as ``100k`` or a bound was printed.

        It may be off by one unit in the last place, which covers both rounding and truncation.
        """
        try:
            number = Decimal(text)
        except InvalidOperation:
            return None
        if not number.is_finite():
            return None
        return cls(float(number), text, unit, float(Decimal(1).scaleb(int(number.as_tuple().exponent))))

    @property
    def low(self) -> float:
        """The least value it may stand for."""
        return self.value - self.rounding

    @property
    def high(self) -> float:
        """The largest value it may stand for."""
        return self.value + self.rounding


@dataclass(frozen=True)
class Row:
    """What is known of one system on one data set.

    Attributes:
        place: where the figures stand.
        figures: by the name of the metric. ``NLL`` is minus the importance-weighted bound in nats per text.
        n_texts: number of texts scored (n), where known.
        latent_size: latent dimensions in all (D), where known; 0 for a plain language model.
        n_groups: number of latent groups, where known.
        max_units: largest number of active units the figure can count, where known.
        n_samples: importance samples per text (K), where known.
        words: mean number of words of a text, where known.
        conditional: whether texts are conditioned on others.
        recorded: whether a run of this suite recorded it, so that it is known how tokens were counted and that MI was
            estimated from samples alone.
        per_text: of the same names, nats of each text (n), where they were kept; all of the same texts.
        cites: the place this row is quoted from, if it is.
    """

    place: Place
    figures: Mapping[str, Figure]
    n_texts: int | None = None
    latent_size: int | None = None
    n_groups: int | None = None
    max_units: int | None = None
    n_samples: int | None = None
    words: Figure | None = None
    conditional: bool = False
    recorded: bool = False
    per_text: Mapping[str, Array] = field(default_factory=dict)
    cites: Place | None = None

    def shown(self, *names: str) -> str:
        """Returns the named figures as printed, for example ``MI 16.58, KL 5.86``."""
        return ", ".join(f"{name} {self.figures[name].text}" for name in names if name in self.figures)

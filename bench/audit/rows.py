"""A row of figures, printed in a paper or recorded by a run, in the form that the rules read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from bench.audit.findings import Location
from bench.bootstrap import Array
from bench.records.doubts import TrainingEnd
from bench.records.published import number_text

ENTROPY = "NLL floor"
"""Figure: minus the exact log-probability of a text under the true distribution, in nats; its mean is the entropy."""

ENTROPY_PERPLEXITY = "PPL floor"
"""Metric: the perplexity of the true distribution."""


@dataclass(frozen=True)
class AuditFigure:
    """One number.

    Attributes:
        value: the number.
        text: the number as printed.
        unit: rules use only ``%`` and ``count``.
        rounding: largest difference between the number and the measured value.
        interval: interval over texts, if known.
    """

    value: float
    text: str
    unit: str = ""
    rounding: float = 0.0
    interval: tuple[float, float] | None = None

    @classmethod
    def from_text(cls, text: str, unit: str = "") -> AuditFigure | None:
        """Parses a printed figure; returns None for a text such as ``100k`` or a bound.

        The rounding is one unit in the last place, which covers rounding and truncation.
        """
        try:
            number = Decimal(number_text(text))
            value = float(number)
            rounding = float(Decimal(1).scaleb(int(number.as_tuple().exponent))) if number.is_finite() else math.inf
        except InvalidOperation:
            return None
        return cls(value, text, unit, rounding) if math.isfinite(value) and math.isfinite(rounding) else None

    @property
    def low(self) -> float:
        """The least value that is printed in this way."""
        return self.value - self.rounding

    @property
    def high(self) -> float:
        """The largest value that is printed in this way."""
        return self.value + self.rounding


@dataclass(frozen=True)
class AuditRow:
    """The figures of one system on one data set. What is not known is None.

    Attributes:
        location: where the figures are printed.
        figures: by the name of the metric. ``NLL`` is minus the importance-weighted bound in nats per text.
        n_texts: number of texts scored (n).
        latent_size: latent dimensions of all groups together (D); 0 for a plain language model.
        n_groups: number of latent groups.
        max_units: largest number of active units that the paper's way of counting can give.
        n_samples: importance samples per text (K).
        words: mean number of words per text.
        conditional: whether texts are generated from sources.
        from_record: whether a run of this suite measured the figures, so that the way of counting tokens is known and
            MI was estimated from samples only.
        per_text: metric to nats per text (n), all of the same texts, where they were stored.
        cites: the row from which the paper quotes this row.
        unread: figures that are no numbers, as printed, for example ``100k``; no rule looks at them.
        end: how the training of a run ended, if its learning curve was stored.
        lost: why a run that diverged or failed has no figures.
    """

    location: Location
    figures: Mapping[str, AuditFigure]
    n_texts: int | None = None
    latent_size: int | None = None
    n_groups: int | None = None
    max_units: int | None = None
    n_samples: int | None = None
    words: AuditFigure | None = None
    conditional: bool = False
    from_record: bool = False
    per_text: Mapping[str, Array] = field(default_factory=dict)
    cites: Location | None = None
    unread: tuple[str, ...] = ()
    end: TrainingEnd | None = None
    lost: str = ""

    def figures_text(self, *names: str) -> str:
        """Returns figures as printed, for example ``MI 16.58, KL 5.86``."""
        return ", ".join(f"{name} {self.figures[name].text}" for name in names if name in self.figures)

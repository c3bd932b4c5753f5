"""Probes: how well a text's true latent factors can be read from its posterior mean.

A grammar draws its texts from factors such as topic or sentiment, so what a text is about is known. A linear classifier
is asked for it, on texts it was not fitted on. Means are taken as they are, in the units of the prior: a dimension
whose means hardly differ needs large weights, which the penalty denies it; the decoder cannot tell such means apart
either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.bootstrap import Array
from bench.metric import Direction, PerTextMetric, Signature, signature
from bench.metrics.likelihood import ScoredTexts

FOLDS = 5
PENALTY = 1.0


def probe(mean: Array, groups: Sequence[int], factors: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """Returns for each factor whether its value is guessed right, text by text, from ever more knowledge.

    Args:
        mean: posterior means (N x D).
        groups: sizes of the latent groups.
        factors: true values by factor (N each).

    Returns:
        By factor, 1 where the guess is right and 0 where not (N x columns): guessed as the commonest value, from the
        means of all groups, and, where there are several, from those of each group. Not a number where a mean is none.
        Nothing with fewer than ``FOLDS`` texts.
    """
    # Imported here: reading records and listing metrics need no torch.
    from bench.metrics.logistic import held_out

    if not factors or len(mean) < FOLDS:
        return {}
    parts = np.split(mean, np.cumsum(groups)[:-1], axis=1) if len(groups) > 1 else []
    if not np.isfinite(mean).all():
        return {name: np.full((len(mean), 2 + len(parts)), np.nan) for name in factors}
    labels = [np.unique(values, return_inverse=True)[1] for values in factors.values()]
    guesses = [held_out(known, labels, PENALTY, FOLDS) for known in (mean[:, :0], mean, *parts)]
    return {
        name: np.stack([guess[i] == labels[i] for guess in guesses], axis=1).astype(np.float64)
        for i, name in enumerate(factors)
    }


class OfFactors(PerTextMetric[ScoredTexts]):
    """Share of texts of which a latent factor, or each factor on average, is guessed right."""

    version = 1
    unit = "%"
    tolerance = 0.05
    factor: str | None
    column: int

    def supports(self, inputs: ScoredTexts) -> str | None:
        """Needs texts of a grammar, enough for every fold."""
        if len(inputs) < FOLDS:
            return f"needs at least {FOLDS} texts, got {len(inputs)}"
        return None if inputs.guessed else "the latent factors of real text are not known"

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: 1 where the guess is right, or the share of factors of which it is."""
        chosen = inputs.guessed.values() if self.factor is None else [inputs.guessed[self.factor]]
        return np.mean([one[:, [self.column]] for one in chosen], axis=0)

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns the mean of the only column in percent."""
        return 100.0 * means[..., 0]


@dataclass(frozen=True)
class Probe(OfFactors):
    """Accuracy of a logistic regression from posterior means to a true latent factor, on held-out texts, percent.

    Attributes:
        factor: name of the factor, or None for the mean over all.
        group: number of the only latent group seen, from 1, or None for all.
    """

    direction: ClassVar[Direction | None] = "up"

    factor: str | None = None
    group: int | None = None

    def __post_init__(self) -> None:
        parts = [f"[{part}]" for part in (self.factor, self.group) if part is not None]
        object.__setattr__(self, "name", "".join(["Probe", *parts]))
        object.__setattr__(self, "column", 1 + (self.group or 0))

    def supports(self, inputs: ScoredTexts) -> str | None:
        """Needs at least one latent group."""
        return super().supports(inputs) if inputs.groups else "no latent variable"

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the classifier, its penalty and how texts are held out."""
        fields = {"model": "logistic", "l2": PENALTY, "folds": FOLDS, "of": "means", "group": self.group or "all"}
        return signature(self.name, self.version, **fields, n=len(inputs))


@dataclass(frozen=True)
class MajorityRate(OfFactors):
    """Accuracy of guessing a true latent factor as its commonest value in the other folds, percent: what z must beat.

    Attributes:
        factor: name of the factor, or None for the mean over all.
    """

    direction: ClassVar[Direction | None] = None

    factor: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "Majority" if self.factor is None else f"Majority[{self.factor}]")
        object.__setattr__(self, "column", 0)

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States how texts are held out."""
        return signature(self.name, self.version, folds=FOLDS, n=len(inputs))

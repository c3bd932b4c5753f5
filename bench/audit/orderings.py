"""Pairs of figures of which one cannot exceed the other.

Over n texts an estimate strays, and there are two ways to say how far. By five standard errors almost never. And a
mean whose exponential has expectation one at most exceeds t with probability exp(-n t) at most (Markov), whatever its
variance: twenty nats over all texts together have probability 2e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.audit.findings import Finding, Severity
from bench.audit.rows import Figure, Row
from bench.bootstrap import Array

STANDARD_ERRORS: Final = 5.0
"""How far an estimate may stray by chance."""

WAGER: Final = 20.0
"""Nats over all texts together that a likelihood ratio with expectation one may gain by chance."""

ROUNDING: Final = 1e-6
"""Nats per text in which two computations of the same number may differ."""

Paired = Callable[[Array], float]
"""From the differences of two figures, text by text (n), to the mean difference that sampling can explain."""
Unpaired = Callable[[Row], float | None]
"""From a row without per-text statistics to the same; None where too little is known of it."""


@dataclass(frozen=True)
class Ordering:
    """A rule: one figure cannot exceed another, both in nats per text.

    Attributes:
        name: of the rule.
        explanation: what it says, and why that holds.
        smaller: name of the figure that cannot exceed the other.
        larger: name of the other.
        reason: why, in a line.
        noise: what sampling can explain where both are known for every text; what exceeds five standard errors but
            not this is suspicious.
        unpaired_noise: and where they are not.
        only_unconditional: whether it holds only for texts without conditions.
    """

    name: str
    explanation: str
    smaller: str
    larger: str
    reason: str
    noise: Paired
    unpaired_noise: Unpaired
    only_unconditional: bool = False

    def check(self, rows: Sequence[Row]) -> Iterator[Finding]:
        """Yields the rows that break it; merely suspicious are those of which too little is known to be sure."""
        for row in rows:
            excess = self._excess(row)
            if excess is not None and (severity := excess.severity) is not None:
                yield Finding(self.name, severity, row.place, row.shown(self.smaller, self.larger), self.reason)

    def _excess(self, row: Row) -> _Excess | None:
        """Returns by how much the one exceeds the other; None where they are not known or need not be ordered."""
        if self.only_unconditional and row.conditional:
            return None
        if self.smaller in row.per_text and self.larger in row.per_text:
            differences = row.per_text[self.smaller] - row.per_text[self.larger]
            noise = self.noise(differences)
            return _Excess(float(differences.mean()), noise, min(noise, standard_errors(differences)))
        if self.smaller in row.figures and self.larger in row.figures:
            excess = _least(row.figures[self.smaller]) - _most(row.figures[self.larger])
            unpaired = self.unpaired_noise(row)
            return _Excess(excess, unpaired, unpaired or 0.0)
        return None


@dataclass(frozen=True)
class _Excess:
    """By how much a figure exceeds one that bounds it, what sampling can explain of it, and from where on it is odd."""

    value: float
    noise: float | None
    odd: float

    @property
    def severity(self) -> Severity | None:
        if self.noise is not None and self.value > self.noise + ROUNDING:
            return "impossible"
        return "suspicious" if self.value > self.odd + ROUNDING else None


def _least(figure: Figure) -> float:
    return min(figure.low, *(figure.interval or (figure.low,)))


def _most(figure: Figure) -> float:
    return max(figure.high, *(figure.interval or (figure.high,)))


def standard_errors(differences: Array) -> float:
    """Returns five standard errors of the mean difference."""
    n = len(differences)
    return STANDARD_ERRORS * float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf


def wager(differences: Array) -> float:
    """Returns the mean log-likelihood ratio that chance can bring over n texts."""
    return WAGER / len(differences)


def exact(differences: Array) -> float:
    """Returns zero: the ordering holds text by text."""
    return 0.0


def density_noise(row: Row) -> float | None:
    """Returns five standard errors of log q(z | x) - log p(z) at one sample of z per text, where n and D are known.

    Its variance is at most D/2 + 2 KL for Gaussians of which q is the narrower: in one dimension, with mean m and
    standard deviation s against a standard normal, it is (s² - 1)²/2 + m² s².
    """
    if row.n_texts is None or row.latent_size is None:
        return None
    kl = max(0.0, row.figures["KL"].high) if "KL" in row.figures else 0.0
    return STANDARD_ERRORS * math.sqrt((row.latent_size / 2 + 2 * kl) / row.n_texts)


def _length_noise(row: Row) -> float | None:
    """Returns ``density_noise`` and five standard errors of -log p(x), taken to vary as much as it is large."""
    density = density_noise(row)
    if density is None or row.n_texts is None:
        return None
    return density + STANDARD_ERRORS * row.figures["ELBO"].value / math.sqrt(row.n_texts)


def _interval_noise(row: Row) -> float | None:
    """Returns zero where the intervals speak for themselves."""
    return 0.0 if row.figures["NLL"].interval else None


def _no_noise(row: Row) -> float:
    return 0.0


ORDERINGS: Final = (
    Ordering(
        "mi-above-kl",
        "MI exceeds KL. On average over the texts KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), where q(z) is the"
        " average of q(z|x) over the same texts, and the second term is not negative. This holds for any number of"
        " texts and any prior that does not depend on the text.",
        "MI",
        "KL",
        "KL is MI plus KL(q(z) || p(z)), which is not negative",
        standard_errors,
        density_noise,
        only_unconditional=True,
    ),
    Ordering(
        "mi-above-elbo",
        "MI exceeds the (negative) ELBO. z cannot tell more about a text than there is: I(x; z) <= H(x), and H(x) <="
        " -E log p(x) <= ELBO under any model. MI over n texts estimates I(x; z) from below.",
        "MI",
        "ELBO",
        "z cannot tell more about a text than its entropy, which is at most the ELBO",
        standard_errors,
        _length_noise,
        only_unconditional=True,
    ),
    Ordering(
        "kl-above-elbo",
        "KL exceeds the (negative) ELBO. The difference is the reconstruction term -E log p(x|z), and the"
        " log-probability of a discrete text is never positive.",
        "KL",
        "ELBO",
        "the difference, the reconstruction term, is not negative",
        exact,
        _no_noise,
    ),
    Ordering(
        "bound-above-elbo",
        "The importance-weighted bound is worse than the ELBO. The log of a mean of K weights is at least the mean of"
        " their logs (Jensen), so -log p_K <= ELBO whatever K is.",
        "NLL",
        "ELBO",
        "-log p_K is at most the ELBO (Jensen)",
        standard_errors,
        density_noise,
    ),
    Ordering(
        "below-floor",
        "A model gives texts more probability than the distribution they were drawn from. The ratio p_K(x) / p(x) has"
        " expectation sum_x p_K(x) = 1 for any K, so over n texts its product exceeds e^20 with probability e^-20 at"
        " most: a model that beats the truth by 20 nats in all has seen the texts, or is not scored by probabilities.",
        "NLL floor",
        "NLL",
        "no model is better than the distribution that the texts were drawn from",
        wager,
        _interval_noise,
    ),
)

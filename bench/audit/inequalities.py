"""Rules of the form "figure A cannot exceed figure B".

An estimate over n texts deviates by chance. There are two limits on that deviation. One is five standard errors. The
other is Markov's inequality: if the exponential of a term has an expectation of at most one, the mean of the term over
n texts exceeds t with probability exp(-n t) at most, so a total of twenty nats over all texts has probability 2e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.audit.findings import Finding, Severity
from bench.audit.rows import ENTROPY, AuditFigure, AuditRow
from bench.bootstrap import Array

N_STANDARD_ERRORS: Final = 5.0
"""Largest deviation of an estimate that is attributed to chance, in standard errors."""

MARKOV_NATS: Final = 20.0
"""Largest log of a likelihood ratio with expectation one that is attributed to chance, in nats over all texts."""

COMPUTATION_NATS: Final = 1e-6
"""Largest difference between two computations of the same number, in nats per text."""

PairedNoise = Callable[[Array], float]
"""From the differences of two figures text by text (n) to the largest mean difference that sampling explains."""
UnpairedNoise = Callable[[AuditRow], float | None]
"""The same from a row without per-text statistics; None if the row lacks what it needs."""


@dataclass(frozen=True)
class Inequality:
    """A rule: one figure cannot exceed another, both in nats per text.

    Attributes:
        name: name of the rule.
        explanation: the rule and its proof.
        smaller: name of the figure that cannot exceed the other.
        larger: name of the other figure.
        reason: the proof in one line.
        noise: used if both figures are known for every text; a difference above five standard errors but within this
            noise is suspicious.
        unpaired_noise: used if they are not.
        only_unconditional: whether the rule holds only for unconditional tasks.
    """

    name: str
    explanation: str
    smaller: str
    larger: str
    reason: str
    noise: PairedNoise
    unpaired_noise: UnpairedNoise
    only_unconditional: bool = False

    def check(self, rows: Sequence[AuditRow]) -> Iterator[Finding]:
        """Yields the rows that break the rule; if the noise is not known, they are suspicious."""
        for row in rows:
            severity = self._severity(row)
            if severity is not None:
                figures = row.figures_text(self.smaller, self.larger)
                yield Finding(self.name, severity, row.location, figures, self.reason)

    def _severity(self, row: AuditRow) -> Severity | None:
        if self.only_unconditional and row.conditional:
            return None
        noise: float | None
        if self.smaller in row.per_text and self.larger in row.per_text:
            differences = row.per_text[self.smaller] - row.per_text[self.larger]
            difference, noise = float(differences.mean()), self.noise(differences)
            suspicious_above = min(noise, standard_errors(differences))
        elif self.smaller in row.figures and self.larger in row.figures:
            difference = _least(row.figures[self.smaller]) - _largest(row.figures[self.larger])
            noise = self.unpaired_noise(row)
            suspicious_above = noise or 0.0
        else:
            return None
        if noise is not None and difference > noise + COMPUTATION_NATS:
            return "impossible"
        return "suspicious" if difference > suspicious_above + COMPUTATION_NATS else None


def _least(figure: AuditFigure) -> float:
    return min(figure.low, *(figure.interval or (figure.low,)))


def _largest(figure: AuditFigure) -> float:
    return max(figure.high, *(figure.interval or (figure.high,)))


def standard_errors(differences: Array) -> float:
    """Returns five standard errors of the mean difference; infinite where the squares are."""
    n = len(differences)
    if n == 1:
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = float(differences.std(ddof=1))
    return N_STANDARD_ERRORS * deviation / math.sqrt(n) if math.isfinite(deviation) else math.inf


def markov_noise(differences: Array) -> float:
    """Returns the largest mean log-likelihood ratio over n texts that chance explains, in nats per text."""
    return MARKOV_NATS / len(differences)


def no_paired_noise(differences: Array) -> float:
    """Returns zero: the inequality holds for each text."""
    return 0.0


def density_noise(row: AuditRow) -> float | None:
    """Returns five standard errors of log q(z | x) - log p(z) at one sample of z per text; None without n or D.

    Its variance is at most D/2 + 2 KL for Gaussians if q is narrower than p: in one dimension, with mean m and standard
    deviation s against a standard normal, it is (s² - 1)²/2 + m² s².
    """
    if row.n_texts is None or row.latent_size is None:
        return None
    kl = max(0.0, row.figures["KL"].high) if "KL" in row.figures else 0.0
    return N_STANDARD_ERRORS * math.sqrt((row.latent_size / 2 + 2 * kl) / row.n_texts)


def _elbo_noise(row: AuditRow) -> float | None:
    """Returns ``density_noise`` and five standard errors of -log p(x), with its mean as its standard deviation."""
    density = density_noise(row)
    if density is None or row.n_texts is None:
        return None
    return density + N_STANDARD_ERRORS * row.figures["ELBO"].value / math.sqrt(row.n_texts)


def _interval_noise(row: AuditRow) -> float | None:
    """Returns zero if the figures have intervals, which already cover the noise."""
    return 0.0 if row.figures["NLL"].interval else None


def _no_noise(row: AuditRow) -> float:
    return 0.0


INEQUALITIES: Final = (
    Inequality(
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
    Inequality(
        "mi-above-elbo",
        "MI exceeds the (negative) ELBO. I(x; z) <= H(x), since z cannot hold more information than the text, and H(x)"
        " <= -E log p(x) <= ELBO under any model. MI over n texts underestimates I(x; z).",
        "MI",
        "ELBO",
        "MI is at most the entropy of the texts, which is at most the ELBO",
        standard_errors,
        _elbo_noise,
        only_unconditional=True,
    ),
    Inequality(
        "kl-above-elbo",
        "KL exceeds the (negative) ELBO. The difference is the reconstruction term -E log p(x|z), and the"
        " log-probability of a discrete text is never positive.",
        "KL",
        "ELBO",
        "the difference, the reconstruction term, is not negative",
        no_paired_noise,
        _no_noise,
    ),
    Inequality(
        "bound-above-elbo",
        "The importance-weighted bound is worse than the ELBO. The log of a mean of K weights is at least the mean of"
        " their logs (Jensen), so -log p_K <= ELBO for every K.",
        "NLL",
        "ELBO",
        "-log p_K is at most the ELBO (Jensen)",
        standard_errors,
        density_noise,
    ),
    Inequality(
        "below-floor",
        "A model gives texts more probability than the distribution they were drawn from. The ratio p_K(x) / p(x) has"
        " expectation sum_x p_K(x) = 1 for every K, so its product over n texts exceeds e^20 with probability e^-20 at"
        " most: a model that is better than the true distribution by 20 nats in total was trained on the texts, or its"
        " scores are not probabilities.",
        ENTROPY,
        "NLL",
        "no model is better than the distribution that the texts were drawn from",
        markov_noise,
        _interval_noise,
    ),
)

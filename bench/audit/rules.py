"""All rules, and the ones about a single row.

Each is a theorem or names its premise, and none fires on what rounding or sampling can explain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bench.audit.findings import Finding, Place, Severity
from bench.audit.orderings import ORDERINGS, WAGER, density_noise
from bench.audit.rows import Row
from bench.audit.tables import copied_row, misquoted, token_counts, tokens_below_words

ROUNDING: Final = 1e-6
"""Relative error of a sum of figures that are stored with all their digits."""

SINGLE_PRECISION: Final = 1e-3
"""Nats by which log-densities of hundreds of nats, computed in float32, may be off."""

BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "PPL": (1, math.inf, "the probability of a token is at most one"),
    "PPL word": (1, math.inf, "the probability of a word is at most one"),
    "PPL floor": (1, math.inf, "the probability of a token is at most one"),
    "BPB": (0, math.inf, "the probability of a text is at most one"),
    "NLL": (0, math.inf, "the probability of a text is at most one"),
    "Rec": (0, math.inf, "the probability of a text is at most one"),
    "ELBO": (0, math.inf, "it bounds minus a log-probability from above"),
    "KL": (0, math.inf, "a divergence is not negative (Gibbs)"),
    "ESS": (1, math.inf, "one sample counts at least once (Cauchy-Schwarz)"),
}
"""Least and largest value of metrics, and why; those of a single latent group are theirs too."""

OF_UNIT: Mapping[str, tuple[float, float, str]] = {
    "%": (0.0, 100.0, "it is a percentage"),
    "count": (0.0, math.inf, "it is a count"),
}
"""The same for all metrics of a unit."""

UNITS: Final = re.compile(r"AU(?:\(([\d.]+)\))?")
"""Counts of active units of all groups, at the default threshold or the one in parentheses."""

SIGNED: Final = ("BERTScore",)
"""Percentages that can be negative: means of cosines."""


def mi_above_ln_n(rows: Sequence[Row]) -> Iterator[Finding]:
    """MI estimated over n texts exceeds ln n.

    The estimate is the mean of log q(z|x) - log q(z), and q(z), the average of q(z|x') over the n texts, holds the
    text's own q(z|x) / n: no term can exceed ln n. Where log q(z) is sampled but the entropy of q may have been taken
    in closed form, five standard errors of log q(z|x) more are only suspicious.
    """
    for row in rows:
        mi, n = row.figures.get("MI"), row.n_texts
        if mi is None or n is None or mi.low <= math.log(n) + SINGLE_PRECISION:
            continue
        noise = 0.0 if row.recorded else density_noise(row)
        sure = noise is not None and mi.low > math.log(n) + noise
        reason = f"over {n} texts the estimate cannot exceed ln n = {math.log(n):.2f}"
        if not sure:
            reason += " but for the noise of an entropy in closed form: it is saturated"
        yield Finding("mi-above-ln-n", "impossible" if sure else "suspicious", row.place, row.shown("MI"), reason)


def mi_negative(rows: Sequence[Row]) -> Iterator[Finding]:
    """MI is further below zero than sampling can bring it.

    For each text q(z) / q(z|x) has expectation one under q(z|x), so over n texts the product exceeds e^20 with
    probability e^-20 at most: a mean of log q(z|x) - log q(z) below -20/n is no such mean. Where the entropy of q may
    have been taken in closed form, five standard errors of log q(z|x) are allowed for.
    """
    for row in rows:
        mi, n = row.figures.get("MI"), row.n_texts
        noise = 0.0 if row.recorded else density_noise(row)
        if mi is not None and n is not None and noise is not None and mi.high < -WAGER / n - noise:
            reason = f"over {n} texts sampling explains no less than {-WAGER / n - noise:.2g}"
            yield Finding("mi-negative", "impossible", row.place, row.shown("MI"), reason)


def sum_of_parts(rows: Sequence[Row]) -> Iterator[Finding]:
    """A figure is not the sum of its parts.

    By definition ELBO = Rec + KL, KL is the sum of the KL of all latent groups, and the active units are those of all
    groups; over the same texts and samples this holds for the means up to rounding. Without latent variables the
    bounds are exact, so that ELBO = -log p(x).
    """
    for row in rows:
        for whole, *parts in _sums(row):
            if not all(name in row.figures for name in (whole, *parts)):
                continue
            total = sum(row.figures[name].value for name in parts)
            rounding = sum(row.figures[name].rounding for name in (whole, *parts)) + ROUNDING * max(total, 1.0)
            if abs(row.figures[whole].value - total) > rounding:
                reason = f"{whole} is {' + '.join(parts)}, which make {total:.6g}"
                yield Finding("sum-of-parts", "impossible", row.place, row.shown(whole, *parts), reason)


def _sums(row: Row) -> Iterator[list[str]]:
    """Yields a whole and its parts."""
    if row.n_groups == 0:
        yield from (["ELBO", "Rec"], ["NLL", "ELBO"])
    else:
        yield ["ELBO", "Rec", "KL"]
    for whole in ("KL", "AU"):
        if groups := [name for name in row.figures if name.startswith(f"{whole}[")]:
            yield [whole, *groups]


def out_of_range(rows: Sequence[Row]) -> Iterator[Finding]:
    """A figure lies outside the values its metric has.

    A perplexity is at least one, log-probabilities of discrete texts are never positive, divergences and counts never
    negative, an effective sample size lies between one and the number of samples, a percentage between 0 and 100
    (a mean of cosines, BERTScore, between -100 and 100).
    """
    for row in rows:
        for name, figure in row.figures.items():
            metric = name.partition("[")[0]
            low, high, reason = BOUNDS.get(metric) or OF_UNIT.get(figure.unit, (-math.inf, math.inf, ""))
            if metric in SIGNED:
                low = -high
            if metric == "ESS" and row.n_samples is not None:
                high, reason = row.n_samples, f"there are {row.n_samples} samples (Cauchy-Schwarz)"
            slack = ROUNDING * max(abs(figure.value), 1.0)
            if figure.high < low - slack or figure.low > high + slack:
                yield Finding("out-of-range", "impossible", row.place, row.shown(name), reason)


def active_units(rows: Sequence[Row]) -> Iterator[Finding]:
    """There are more active units than latent dimensions, a fraction of one, or more at a higher threshold.

    A unit is a dimension of the posterior mean, active if its variance exceeds a threshold. One run has a whole number
    of them; a fraction is only suspicious in a paper, where it may be a mean over seeds or layers.
    """
    for row in rows:
        counts = {float(match[1] or 0): name for name in row.figures if (match := UNITS.fullmatch(name))}
        names = [counts[threshold] for threshold in sorted(counts)]
        for name in names:
            units = row.figures[name]
            if row.max_units is not None and units.low > row.max_units:
                reason = f"there are {row.max_units} to count"
                yield Finding("active-units", "impossible", row.place, row.shown(name), reason)
            if row.n_groups == 1 and not units.value.is_integer():
                severity: Severity = "impossible" if row.recorded else "suspicious"
                yield Finding("active-units", severity, row.place, row.shown(name), "a run has a whole number of them")
        for lower, higher in pairwise(names):
            if row.figures[higher].low > row.figures[lower].high:
                reason = "what exceeds the higher threshold exceeds the lower one"
                yield Finding("active-units", "impossible", row.place, row.shown(lower, higher), reason)


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: short name.
        explanation: what it says, and why that holds: one paragraph.
        check: given all rows, yields what breaks it.
    """

    name: str
    explanation: str
    check: Callable[[Sequence[Row]], Iterator[Finding]]

    @classmethod
    def documented(cls, check: Callable[[Sequence[Row]], Iterator[Finding]]) -> Rule:
        """Returns the rule that a function checks, with its name and its docstring."""
        return cls(check.__name__.replace("_", "-"), " ".join((check.__doc__ or "").split()), check)


RULES: Final = (
    *(Rule(ordering.name, ordering.explanation, ordering.check) for ordering in ORDERINGS),
    *map(
        Rule.documented,
        (
            mi_above_ln_n,
            mi_negative,
            sum_of_parts,
            out_of_range,
            active_units,
            token_counts,
            tokens_below_words,
            misquoted,
            copied_row,
        ),
    ),
)


def audit(rows: Sequence[Row]) -> list[Finding]:
    """Returns what breaks a rule: first what is impossible, then what is suspicious, each in the order of the rows."""
    order: dict[Place, int] = {}
    for number, row in enumerate(rows):
        order.setdefault(row.place.of_table, number)
        order.setdefault(row.place, number)
    findings = [finding for rule in RULES for finding in rule.check(rows)]
    # What concerns a whole table goes before its rows.
    return sorted(findings, key=lambda one: (one.severity != "impossible", order[one.place], bool(one.place.row)))

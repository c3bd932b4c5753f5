"""All rules, among them those about a single row.

Each rule is a theorem or states its assumption, and allows for rounding and sampling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bench.audit.findings import Finding, Location, Severity
from bench.audit.inequalities import INEQUALITIES, MARKOV_NATS, density_noise
from bench.audit.rows import ENTROPY_PERPLEXITY, AuditRow
from bench.audit.table_rules import copied_row, misquoted, token_counts, tokens_below_words
from bench.records.doubts import is_uninformative

RELATIVE_ERROR: Final = 1e-6
"""Of a sum of figures that are stored with all their digits."""

SINGLE_PRECISION: Final = 1e-3
"""Error in nats of log-densities of hundreds of nats that were computed in float32."""

BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "PPL": (1, math.inf, "the probability of a token is at most one"),
    "PPL word": (1, math.inf, "the probability of a word is at most one"),
    ENTROPY_PERPLEXITY: (1, math.inf, "the probability of a token is at most one"),
    "BPB": (0, math.inf, "the probability of a text is at most one"),
    "NLL": (0, math.inf, "the probability of a text is at most one"),
    "Rec": (0, math.inf, "the probability of a text is at most one"),
    "ELBO": (0, math.inf, "it bounds minus a log-probability from above"),
    "KL": (0, math.inf, "a divergence is not negative (Gibbs)"),
    "ESS": (1, math.inf, "one sample counts at least once (Cauchy-Schwarz)"),
}
"""Metric to its least value, its largest value and the reason; they also hold for the metric of one latent group."""

UNIT_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "%": (0.0, 100.0, "it is a percentage"),
    "count": (0.0, math.inf, "it is a count"),
}
"""The same for all other metrics of a unit."""

ACTIVE_UNITS: Final = re.compile(r"AU(?:\(([\d.]+)\))?")
"""Active units of all groups together, at the default threshold or the one in parentheses."""

SIGNED_PERCENTAGES: Final = ("BERTScore",)
"""Percentages that can be negative: means of cosines."""


def mi_above_ln_n(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """MI estimated over n texts exceeds ln n.

    The estimate is the mean of log q(z|x) - log q(z), and q(z), the average of q(z|x') over the n texts, includes
    q(z|x) / n: no term can exceed ln n. If log q(z) is sampled but the entropy of q may have been computed in closed
    form, an excess of at most five standard errors of log q(z|x) is only suspicious.
    """
    for row in rows:
        mi, n = row.figures.get("MI"), row.n_texts
        if mi is None or n is None or mi.low <= math.log(n) + SINGLE_PRECISION:
            continue
        noise = 0.0 if row.from_record else density_noise(row)
        certain = noise is not None and mi.low > math.log(n) + noise
        reason = f"over {n} texts the estimate cannot exceed ln n = {math.log(n):.2f}"
        if not certain:
            reason += " but for the noise of an entropy in closed form: it is saturated"
        yield Finding(
            "mi-above-ln-n", "impossible" if certain else "suspicious", row.location, row.figures_text("MI"), reason
        )


def mi_negative(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """MI is further below zero than sampling explains.

    For each text q(z) / q(z|x) has expectation one under q(z|x), so its product over n texts exceeds e^20 with
    probability e^-20 at most, and the mean of log q(z|x) - log q(z) is not below -20/n. If the entropy of q may have
    been computed in closed form, five more standard errors of log q(z|x) are allowed.
    """
    for row in rows:
        mi, n = row.figures.get("MI"), row.n_texts
        noise = 0.0 if row.from_record else density_noise(row)
        if mi is not None and n is not None and noise is not None and mi.high < -MARKOV_NATS / n - noise:
            reason = f"over {n} texts sampling explains no less than {-MARKOV_NATS / n - noise:.2g}"
            yield Finding("mi-negative", "impossible", row.location, row.figures_text("MI"), reason)


def sum_of_parts(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """A figure is not the sum of its parts.

    By definition ELBO = Rec + KL, KL is the sum of the KL of all latent groups, and AU is the sum of the active units
    of all groups; the means over the same texts and samples fulfil this up to rounding. Without latent variables the
    bounds are exact, so ELBO = -log p(x).
    """
    for row in rows:
        for whole, *parts in _sums(row):
            if not all(name in row.figures for name in (whole, *parts)):
                continue
            total = sum(row.figures[name].value for name in parts)
            rounding = sum(row.figures[name].rounding for name in (whole, *parts)) + RELATIVE_ERROR * max(total, 1.0)
            if abs(row.figures[whole].value - total) > rounding:
                reason = f"{whole} is {' + '.join(parts)}, which make {total:.6g}"
                yield Finding("sum-of-parts", "impossible", row.location, row.figures_text(whole, *parts), reason)


def _sums(row: AuditRow) -> Iterator[list[str]]:
    """Yields the name of each sum, followed by the names of its parts."""
    if row.n_groups == 0:
        yield from (["ELBO", "Rec"], ["NLL", "ELBO"])
    else:
        yield ["ELBO", "Rec", "KL"]
    for whole in ("KL", "AU"):
        if groups := [name for name in row.figures if name.startswith(f"{whole}[")]:
            yield [whole, *groups]


def out_of_range(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """A figure is outside the range of its metric.

    A perplexity is at least one, log-probabilities of discrete texts are never positive, divergences and counts are
    never negative, an effective sample size lies between one and the number of samples, a percentage between 0 and 100
    (BERTScore, a mean of cosines, between -100 and 100).
    """
    for row in rows:
        for name, figure in row.figures.items():
            metric = name.partition("[")[0]
            low, high, reason = BOUNDS.get(metric) or UNIT_BOUNDS.get(figure.unit, (-math.inf, math.inf, ""))
            if metric in SIGNED_PERCENTAGES:
                low = -high
            if metric == "ESS" and row.n_samples is not None:
                high, reason = row.n_samples, f"there are {row.n_samples} samples (Cauchy-Schwarz)"
            slack = RELATIVE_ERROR * max(abs(figure.value), 1.0)
            if figure.high < low - slack or figure.low > high + slack:
                yield Finding("out-of-range", "impossible", row.location, row.figures_text(name), reason)


def active_units(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """There are more active units than latent dimensions, not a whole number, or more at a higher threshold.

    A unit is a dimension of the posterior mean; it is active if its variance exceeds a threshold. One run has a whole
    number of active units; in a paper a fraction is only suspicious, since it may be a mean over seeds or layers.
    """
    for row in rows:
        counts = {float(match[1] or 0): name for name in row.figures if (match := ACTIVE_UNITS.fullmatch(name))}
        names = [counts[threshold] for threshold in sorted(counts)]
        for name in names:
            units = row.figures[name]
            if row.max_units is not None and units.low > row.max_units:
                reason = f"there are only {row.max_units} units"
                yield Finding("active-units", "impossible", row.location, row.figures_text(name), reason)
            if row.n_groups == 1 and not units.value.is_integer():
                severity: Severity = "impossible" if row.from_record else "suspicious"
                yield Finding(
                    "active-units",
                    severity,
                    row.location,
                    row.figures_text(name),
                    "a run has a whole number of active units",
                )
        for lower, higher in pairwise(names):
            if row.figures[higher].low > row.figures[lower].high:
                reason = "a unit that exceeds the higher threshold exceeds the lower one"
                yield Finding("active-units", "impossible", row.location, row.figures_text(lower, higher), reason)


def still_falling(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """Training ended while the validation ELBO fell by 1 % an epoch or more.

    The last epoch is compared with the best earlier one of the same stage. The figures then rank how far training got,
    not what the systems can do.
    """
    for row in rows:
        if (end := row.end) is not None and end.is_still_falling and end.fall is not None:
            figures = f"{end.fall * 100:.2g} % an epoch; best epoch {end.best_epoch} of {end.epochs}"
            yield Finding("still-falling", "suspicious", row.location, figures, "more epochs would lower the ELBO")


def uninformative_kl(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """The KL of a run exceeds 1 nat, and MI is under a tenth of it.

    KL(q(z|x) || p(z)) is MI plus KL(q(z) || p(z)) on average. If MI is a small part, posteriors differ from the prior
    but hardly from each other. Of a KL above ln n a tenth of ln n is required, since MI cannot exceed ln n.
    """
    for row in rows:
        kl, mi = row.figures.get("KL"), row.figures.get("MI")
        if row.from_record and kl and mi and is_uninformative(kl.value, mi.value, row.n_texts):
            reason = "the posterior differs from the prior but hardly from text to text"
            yield Finding("uninformative-kl", "suspicious", row.location, row.figures_text("KL", "MI"), reason)


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: printed with each finding.
        explanation: the rule and its proof, in one paragraph.
        check: yields the findings in all rows.
    """

    name: str
    explanation: str
    check: Callable[[Sequence[AuditRow]], Iterator[Finding]]

    @classmethod
    def from_function(cls, check: Callable[[Sequence[AuditRow]], Iterator[Finding]]) -> Rule:
        """Returns the rule that a function checks; it has the function's name and docstring."""
        return cls(check.__name__.replace("_", "-"), " ".join((check.__doc__ or "").split()), check)


MARKED_IN_TABLES = ("still-falling", "uninformative-kl")
"""Rules whose findings a table shows as footnotes of its cells."""

RULES: Final = (
    *(Rule(inequality.name, inequality.explanation, inequality.check) for inequality in INEQUALITIES),
    *map(
        Rule.from_function,
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
            still_falling,
            uninformative_kl,
        ),
    ),
)


def audit(rows: Sequence[AuditRow]) -> list[Finding]:
    """Returns all findings: first impossible, then suspicious ones, each in the order of the rows."""
    order: dict[Location, int] = {}
    for number, row in enumerate(rows):
        order.setdefault(row.location.all_rows, number)
        order.setdefault(row.location, number)

    def sort_key(finding: Finding) -> tuple[bool, int, bool]:
        # Findings about all rows of a table come before those about one row.
        return finding.severity != "impossible", order[finding.location], bool(finding.location.row)

    return sorted((finding for rule in RULES for finding in rule.check(rows)), key=sort_key)

"""Rules about several rows: different token counts, copied rows, wrong quotations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from bench.audit.findings import Finding, Location
from bench.audit.rows import AuditRow

ONE_TOKEN: Final = 1.0
"""The least difference per text between two ways of counting tokens."""

MOST_NAMES: Final = 6
"""Up to so many rows are printed by name, more as a number."""

COPIED_DIGITS: Final = 8
"""Least number of equal digits of a copied row: one pair of rows in 10^8 has so many by chance."""


@dataclass(frozen=True)
class TokenRange:
    """The numbers of tokens per text that the perplexity and likelihood of a row allow."""

    row: AuditRow
    low: float
    high: float

    @classmethod
    def of(cls, row: AuditRow) -> TokenRange | None:
        """Returns the range, from PPL = exp(-log p_K / tokens) and ELBO - KL <= -log p_K <= ELBO.

        The upper end is Jensen's inequality. The lower end is an assumption: importance weighting improves the bound by
        at most the KL.
        """
        ppl, nll, elbo, kl = (row.figures.get(name) for name in ("PPL", "NLL", "ELBO", "KL"))
        if row.from_record or ppl is None or ppl.low <= 1 or (nll is None and elbo is None):
            return None
        least, most = math.log(ppl.low), math.log(ppl.high)
        if nll is not None:
            return cls(row, nll.low / most, nll.high / least)
        if elbo is None:
            return None
        return cls(row, (elbo.low - kl.high) / most if kl else 0.0, elbo.high / least)

    def near(self, number: float) -> bool:
        """Returns whether a number of tokens is in the range or within half a token of it."""
        return self.low - ONE_TOKEN / 2 <= number <= self.high + ONE_TOKEN / 2


def token_counts(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """Rows of one table need different numbers of tokens per text.

    All rows of a table on one data set are scored on the same texts. PPL = exp(-log p_K / tokens), and -log p_K lies
    between ELBO - KL and ELBO, so each row allows a range of tokens per text: its upper end is a theorem (Jensen),
    its lower end assumes that importance weighting improves the bound by at most the KL. Rows with ranges that are a
    whole token apart, the least difference between two ways of counting, were not evaluated in the same way.
    """
    tables: dict[Location, list[TokenRange]] = {}
    for row in rows:
        if (token_range := TokenRange.of(row)) is not None:
            tables.setdefault(row.location.all_rows, []).append(token_range)
    for location, ranges in tables.items():
        groups = _agreeing(ranges)
        if len(groups) > 1:
            figures = "; ".join(map(_range_text, groups))
            reason = "no number of tokens per text fits all rows"
            yield Finding("token-counts", "impossible", location, figures, reason)


def _agreeing(ranges: Sequence[TokenRange]) -> list[list[TokenRange]]:
    """Returns groups of ranges that allow a common number, within half a token; the largest group is formed first."""
    groups = []
    rest = list(ranges)
    while rest:
        numbers = [tokens.high + ONE_TOKEN / 2 for tokens in rest]
        group = max(([tokens for tokens in rest if tokens.near(number)] for number in numbers), key=len)
        groups.append(group)
        rest = [tokens for tokens in rest if tokens not in group]
    return sorted(groups, key=lambda group: min(tokens.high for tokens in group))


def _range_text(group: Sequence[TokenRange]) -> str:
    low, high = sorted((max(tokens.low for tokens in group), min(tokens.high for tokens in group)))
    names = ", ".join(tokens.row.location.row for tokens in group) if len(group) <= MOST_NAMES else f"{len(group)} rows"
    return f"{low:.1f} to {high:.1f} tokens: {names}"


def tokens_below_words(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """A row needs fewer tokens per text than its texts have words.

    -log p_K <= ELBO (Jensen), so PPL = exp(-log p_K / tokens) holds only for tokens <= ELBO / ln PPL; but no common
    tokenizer joins words, so there are at least as many tokens as words.
    """
    for row in rows:
        tokens = TokenRange.of(row)
        if tokens is not None and row.words is not None and tokens.high < row.words.low:
            reason = f"they allow {tokens.high:.2f} tokens per text at most; the texts have {row.words.text} words"
            yield Finding(
                "tokens-below-words", "impossible", row.location, row.figures_text("PPL", "ELBO", "NLL"), reason
            )


def copied_row(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """Two rows on different data sets agree in three figures or more, eight digits or more in total.

    Figures measured on different texts agree in so many digits once in 10^8: a row, or a part of it, was copied.
    Zeros are not counted.
    """
    copies: set[Location] = set()
    for first, second in combinations(rows, 2):
        original, copy = first.location, second.location
        if original.source != copy.source or original.dataset == copy.dataset or copy in copies:
            continue
        same = [n for n, f in second.figures.items() if n in first.figures and first.figures[n].text == f.text]
        digits = sum(len(second.figures[name].text.lstrip("-0.").replace(".", "")) for name in same)
        if len(same) >= 3 and digits >= COPIED_DIGITS:
            copies.add(copy)
            reason = f"the same figures as {original.table}, {original.dataset}: {original.row}"
            yield Finding("copied-row", "suspicious", copy, second.figures_text(*same), reason)


def misquoted(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    """A quoted figure differs from the original.

    A row that is quoted from another paper must have the same figures as the original row, up to rounding; the rule
    applies if the original row is audited too.
    """
    by_location = {row.location: row for row in rows}
    for row in rows:
        cited = by_location.get(row.cites) if row.cites else None
        if cited is None:
            continue
        differences = [name for name in row.figures if name in cited.figures and _differ(row, cited, name)]
        if differences:
            reason = f"it is quoted from {cited.location}, which has {cited.figures_text(*differences)}"
            yield Finding("misquoted", "impossible", row.location, row.figures_text(*differences), reason)


def _differ(row: AuditRow, cited: AuditRow, name: str) -> bool:
    first, second = row.figures[name], cited.figures[name]
    return abs(first.value - second.value) > max(first.rounding, second.rounding) * (1 + 1e-9)

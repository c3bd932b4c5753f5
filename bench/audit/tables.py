"""Rules about rows beside each other: token counts that differ, copied rows, wrong quotations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from bench.audit.findings import Finding, Place
from bench.audit.rows import Row

ONE_TOKEN: Final = 1.0
"""The least difference per text that two ways of counting tokens can make."""

NAMED: Final = 6
"""Rows that are named one by one; more are counted."""

COPIED_DIGITS: Final = 8
"""Digits in which rows must agree to be called copies: one pair in 10^8 does so by chance."""


@dataclass(frozen=True)
class TokenRange:
    """How many tokens per text a row's perplexity and likelihood allow."""

    row: Row
    low: float
    high: float

    @classmethod
    def of(cls, row: Row) -> TokenRange | None:
        """Returns the range, from PPL = exp(-log p_K / tokens) and ELBO - KL <= -log p_K <= ELBO.

        The upper end is Jensen's inequality. The lower end has a premise: importance weighting gains at most the KL,
        and what the best of the K samples reconstructs better than the average one does.
        """
        ppl, nll, elbo, kl = (row.figures.get(name) for name in ("PPL", "NLL", "ELBO", "KL"))
        if row.recorded or ppl is None or ppl.low <= 1 or (nll is None and elbo is None):
            return None
        least, most = math.log(ppl.low), math.log(ppl.high)
        if nll is not None:
            return cls(row, nll.low / most, nll.high / least)
        if elbo is None:
            return None
        return cls(row, (elbo.low - kl.high) / most if kl else 0.0, elbo.high / least)

    def near(self, number: float) -> bool:
        """Returns whether a number of tokens is in the range, or within half a token of it."""
        return self.low - ONE_TOKEN / 2 <= number <= self.high + ONE_TOKEN / 2


def token_counts(rows: Sequence[Row]) -> Iterator[Finding]:
    """Rows of one table need different numbers of tokens per text.

    All rows of a table on one data set are scored on the same texts. PPL = exp(-log p_K / tokens), and -log p_K lies
    between ELBO - KL and ELBO, so each row allows a range of tokens per text: its upper end is a theorem (Jensen),
    its lower end takes for granted that importance weighting gains no more than the KL. Rows whose ranges are a
    whole token apart, the least that another way of counting makes, were not evaluated in one way.
    """
    tables: dict[Place, list[TokenRange]] = {}
    for row in rows:
        if (found := TokenRange.of(row)) is not None:
            tables.setdefault(row.place.of_table, []).append(found)
    for place, ranges in tables.items():
        groups = _agreeing(ranges)
        if len(groups) > 1:
            shown = "; ".join(_shown(group) for group in groups)
            reason = "no number of tokens per text fits all rows"
            yield Finding("token-counts", "impossible", place, shown, reason)


def _agreeing(ranges: Sequence[TokenRange]) -> list[list[TokenRange]]:
    """Returns groups whose ranges come within a token of a common number: the largest there is, then of the rest."""
    groups = []
    rest = list(ranges)
    while rest:
        numbers = [one.high + ONE_TOKEN / 2 for one in rest]
        group = max(([one for one in rest if one.near(number)] for number in numbers), key=len)
        groups.append(group)
        rest = [one for one in rest if one not in group]
    return sorted(groups, key=lambda group: min(one.high for one in group))


def _shown(group: Sequence[TokenRange]) -> str:
    low, high = sorted((max(one.low for one in group), min(one.high for one in group)))
    names = ", ".join(one.row.place.row for one in group) if len(group) <= NAMED else f"{len(group)} rows"
    return f"{low:.1f} to {high:.1f} tokens: {names}"


def tokens_below_words(rows: Sequence[Row]) -> Iterator[Finding]:
    """A row needs fewer tokens per text than its texts have words.

    -log p_K <= ELBO (Jensen), so PPL = exp(-log p_K / tokens) holds only for tokens <= ELBO / ln PPL; but no tokenizer
    in use joins words, so there are at least as many tokens as words.
    """
    for row in rows:
        found = TokenRange.of(row)
        if found is not None and row.words is not None and found.high < row.words.low:
            reason = f"they allow {found.high:.2f} tokens per text at most; the texts have {row.words.text} words"
            yield Finding("tokens-below-words", "impossible", row.place, row.shown("PPL", "ELBO", "NLL"), reason)


def copied_row(rows: Sequence[Row]) -> Iterator[Finding]:
    """Two rows on different data sets agree in three figures or more, eight digits or more in all.

    Measured figures of different texts agree in so many digits once in 10^8: a row, or part of one, was copied.
    Zeros are not counted.
    """
    copied: set[Place] = set()
    for first, second in combinations(rows, 2):
        one, other = first.place, second.place
        if one.source != other.source or one.dataset == other.dataset or other in copied:
            continue
        same = [n for n, f in second.figures.items() if n in first.figures and first.figures[n].text == f.text]
        digits = sum(len(second.figures[name].text.lstrip("-0.").replace(".", "")) for name in same)
        if len(same) >= 3 and digits >= COPIED_DIGITS:
            copied.add(other)
            reason = f"the same figures as {one.table}, {one.dataset}: {one.row}"
            yield Finding("copied-row", "suspicious", other, second.shown(*same), reason)


def misquoted(rows: Sequence[Row]) -> Iterator[Finding]:
    """A quoted figure differs from the one that is quoted.

    The row says which row of which paper it repeats; where that row is among those audited, its figures must be the
    same up to rounding.
    """
    places = {row.place: row for row in rows}
    for row in rows:
        cited = places.get(row.cites) if row.cites else None
        if cited is None:
            continue
        shared = [name for name in row.figures if name in cited.figures]
        differ = [n for n in shared if abs(row.figures[n].value - cited.figures[n].value) > _rounding(row, cited, n)]
        if differ:
            reason = f"it is quoted from {cited.place}, which has {cited.shown(*differ)}"
            yield Finding("misquoted", "impossible", row.place, row.shown(*differ), reason)


def _rounding(row: Row, cited: Row, name: str) -> float:
    return max(row.figures[name].rounding, cited.figures[name].rounding) * (1 + 1e-9)

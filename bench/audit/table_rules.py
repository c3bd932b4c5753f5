"""Rules about several rows: different token counts, copied rows, wrong quotations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

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
    Zeros and hundreds, the ends of a percentage, are not counted.
    """
    for of_source in _by_source(rows):
        figures = _FigureTexts.of(of_source)
        copies: set[Location] = set()
        for place, row in enumerate(of_source):
            original = figures.first_with_the_same(place)
            if original is None or row.location in copies:
                continue
            copies.add(row.location)
            other = of_source[original]
            same = [n for n, f in row.figures.items() if n in other.figures and other.figures[n].text == f.text]
            where = other.location
            reason = f"the same figures as {where.table}, {where.dataset}: {where.row}"
            yield Finding("copied-row", "suspicious", row.location, row.figures_text(*same), reason)


def _by_source(rows: Sequence[AuditRow]) -> Iterable[Sequence[AuditRow]]:
    by_source: dict[str, list[AuditRow]] = {}
    for row in rows:
        by_source.setdefault(row.location.source, []).append(row)
    return by_source.values()


@dataclass(frozen=True)
class _FigureTexts:
    """The printed figures of rows as numbers, so that a row is compared with all others at once.

    Attributes:
        texts: number of the printed text of each figure, -1 where a row lacks it (rows x names).
        digits: number of digits of each figure without leading zeros, 0 of a hundred (rows x names).
        datasets: number of the data set of each row (rows).
    """

    texts: npt.NDArray[np.int64]
    digits: npt.NDArray[np.int64]
    datasets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[AuditRow]) -> _FigureTexts:
        names = {name: place for place, name in enumerate(dict.fromkeys(name for row in rows for name in row.figures))}
        numbers: dict[str, int] = {}
        texts = np.full((len(rows), len(names)), -1)
        digits = np.zeros_like(texts)
        for place, row in enumerate(rows):
            for name, figure in row.figures.items():
                texts[place, names[name]] = numbers.setdefault(figure.text, len(numbers))
                if figure.value != 100:
                    digits[place, names[name]] = len(figure.text.lstrip("-0.").replace(".", ""))
        datasets: dict[str, int] = {}
        return cls(texts, digits, np.array([datasets.setdefault(r.location.dataset, len(datasets)) for r in rows]))

    def first_with_the_same(self, place: int) -> int | None:
        """Returns the first row before a row, on other data, that has enough of its figures; None if none has."""
        same = (self.texts[:place] == self.texts[place]) & (self.texts[place] >= 0)
        enough = (same.sum(axis=1) >= 3) & (same @ self.digits[place] >= COPIED_DIGITS)
        found = np.flatnonzero(enough & (self.datasets[:place] != self.datasets[place]))
        return int(found[0]) if len(found) else None


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

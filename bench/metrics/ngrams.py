"""Exact n-gram counts per text, and the parts of BLEU: clipped matches and closest lengths.

Counting is one sort per order over all texts together, so it grows as the number of tokens (times its logarithm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.bootstrap import Array
from bench.errors import BenchError
from bench.metrics.tokens import Ints, Tokens

METHOD_1_EPSILON = 0.1
"""Count given to an order without a match (method 1 of Chen and Cherry 2014, the value of nltk)."""


@dataclass(frozen=True)
class NGramCounts:
    """Counts of the n-grams of one order in each text: one row per (n-gram, text) that occurs.

    Attributes:
        gram: n-gram of each row, numbered from 0 without gaps, ascending (rows,).
        text: text of each row, ascending within an n-gram (rows,).
        count: occurrences of the n-gram in the text, at least 1 (rows,).
        starts: first row of each n-gram (n-grams,).
        n_texts: number of texts, those without any n-gram of this order included.
    """

    gram: Ints
    text: Ints
    count: Ints
    starts: Ints
    n_texts: int

    def per_text(self, values: Ints) -> Ints:
        """Returns the sum over the rows of each text (texts,)."""
        return np.bincount(self.text, weights=values, minlength=self.n_texts).astype(np.int64)

    def largest(self, values: Ints) -> Ints:
        """Returns the largest value among the rows of each n-gram (n-grams,)."""
        return np.maximum.reduceat(values, self.starts) if len(self.starts) else values


def check_order(n: int, limit: int | None = None) -> None:
    """Checks an n-gram order and a number of references that a user chose.

    Raises:
        BenchError: the order is below 1, or the number below 2.
    """
    if n < 1:
        raise BenchError(f"n-gram order {n}; allowed: 1 or more")
    if limit is not None and limit < 2:
        raise BenchError(f"limit {limit}; allowed: 2 or more, or null")


def count_ngrams(tokens: Tokens, max_n: int) -> Iterator[NGramCounts]:
    """Yields the counts of order 1, 2, …, ``max_n``.

    An n-gram is keyed by its number as (n-1)-gram and its last token, and the keys are numbered again after every
    order. Keys are below tokens x vocabulary, so 64 bits hold them without collision.
    """
    ids, lengths = tokens.ids, tokens.lengths
    text_of = np.repeat(np.arange(len(tokens)), lengths)
    remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ids))
    vocabulary = int(ids.max()) + 1 if len(ids) else 1
    begin = np.arange(len(ids))
    gram_at = np.zeros(len(ids), dtype=np.int64)
    for n in range(1, max_n + 1):
        fits = remaining[begin] >= n
        begin = begin[fits]
        key = gram_at[fits] * vocabulary + ids[begin + n - 1]
        order = np.argsort(key)
        gram_at = np.empty_like(key)
        gram_at[order] = np.cumsum(_changes(key[order])) - 1
        # A second sort, of values alone, is cheaper than a stable first one.
        occurrences = np.sort(gram_at * len(tokens) + text_of[begin])
        rows = np.flatnonzero(_changes(occurrences))
        gram, text = np.divmod(occurrences[rows], max(len(tokens), 1))
        yield NGramCounts(
            gram=gram,
            text=text,
            count=np.diff(rows, append=len(occurrences)),
            starts=np.flatnonzero(_changes(gram)),
            n_texts=len(tokens),
        )


def ngrams_of_order(tokens: Tokens, n: int) -> NGramCounts:
    """Returns the counts of one order."""
    *_, counts = count_ngrams(tokens, n)
    return counts


def matches_with_others(tokens: Tokens, max_n: int) -> Ints:
    """Returns each text's n-gram matches with all other texts as references, by order (texts x ``max_n``).

    The reference count of an n-gram is its largest count in any OTHER text: the largest of all, except for the text
    that holds it, which gets the second largest. So two counts per n-gram replace the comparison of all pairs.
    """
    return np.stack([_matches_with_others(counts) for counts in count_ngrams(tokens, max_n)], axis=1)


def lost_matches(tokens: Tokens, max_n: int, cluster_size: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yields, by order, the matches with others that a text loses if a cluster of other texts is removed.

    A text loses matches of an n-gram only if one cluster, not its own, alone has the largest count of it. So there is
    at most one loss for each n-gram of a text, and time is linear in the number of tokens.

    Args:
        tokens: the texts.
        max_n: highest order.
        cluster_size: texts in a cluster; clusters are consecutive texts, the last one may be smaller.

    Yields:
        Text, removed cluster and lost matches of one n-gram (losses,).
    """
    for counts in count_ngrams(tokens, max_n):
        gram, cluster = counts.gram, counts.text // cluster_size
        begins = _changes(gram) | _changes(cluster)
        portion, starts = np.cumsum(begins) - 1, np.flatnonzero(begins)  # an n-gram's rows of one cluster
        of_portion = _largest_and_owner(counts.count, portion)[0]
        in_own_cluster = _largest_elsewhere(counts.count, portion)
        # The three largest counts of an n-gram in different clusters; one of them may be the text's own cluster.
        (first, owner), (second, next_owner), (third, _) = _largest_and_owners(of_portion, gram[starts], 3)
        owns, owns_next = portion == owner[gram], portion == next_owner[gram]
        largest = np.maximum(np.where(owns, second[gram], first[gram]), in_own_cluster)
        without = np.maximum(np.where(owns | owns_next, third[gram], second[gram]), in_own_cluster)
        lost = np.minimum(counts.count, largest) - np.minimum(counts.count, without)
        rows = np.flatnonzero(lost)
        removed = starts[np.where(owns, next_owner[gram], owner[gram])[rows]]
        yield counts.text[rows], cluster[removed], lost[rows]


def moved_closest_lengths(lengths: Ints, closest: Ints, cluster_size: int) -> tuple[Ints, Ints, Ints]:
    """Returns the closest other lengths that move if a cluster of other texts is removed.

    Args:
        lengths: tokens of each text (texts,).
        closest: closest length among the other texts (texts,), see ``closest_other_lengths``.
        cluster_size: see ``lost_matches``; there must be three clusters or more.

    Returns:
        Text, removed cluster and closest other length without it (moves,).
    """
    texts = np.arange(len(lengths))
    cluster = texts // cluster_size
    order = np.argsort(lengths, kind="stable")
    first, last = (np.searchsorted(lengths[order], closest, side) for side in ("left", "right"))
    last = last - 1
    # The first and the last text of the closest length, other than the text itself.
    lowest = order[first + (order[first] == texts)]
    highest = order[last - (order[last] == texts)]
    moved = np.flatnonzero((cluster[lowest] == cluster[highest]) & (cluster[lowest] != cluster))
    removed = cluster[lowest[moved]]
    # Few: n texts of different lengths have about n² / 2 tokens.
    rest = [
        closest_lengths(lengths[[text]], lengths[(cluster != without) & (texts != text)])
        for text, without in zip(moved, removed, strict=True)
    ]
    return moved, removed, np.array(rest, dtype=np.int64).reshape(-1)


def matches_with_references(texts: Tokens, references: Tokens, max_n: int) -> Ints:
    """Returns each text's n-gram matches with all references together, by order (texts x ``max_n``)."""
    orders = count_ngrams(texts + references, max_n)
    return np.stack([_matches_with_references(counts, len(texts)) for counts in orders], axis=1)


def ngram_totals(lengths: Ints, max_n: int) -> Ints:
    """Returns the number of n-grams of each text, by order (texts x ``max_n``)."""
    return np.maximum(lengths[:, None] - np.arange(max_n), 0)


def closest_lengths(lengths: Ints, references: Ints) -> Ints:
    """Returns for each length the closest reference length, the shorter of two equally close ones (texts,)."""
    choices = np.unique(references)
    place = np.searchsorted(choices, lengths)
    below, above = choices[np.maximum(place - 1, 0)], choices[np.minimum(place, len(choices) - 1)]
    return np.where(np.abs(lengths - below) <= np.abs(above - lengths), below, above)


def closest_other_lengths(lengths: Ints) -> Ints:
    """Returns for each text the closest length among the OTHER texts, at least one (texts,)."""
    choices, which, texts = np.unique(lengths, return_inverse=True, return_counts=True)
    below, above = np.append(-np.inf, choices[:-1]), np.append(choices[1:], np.inf)
    neighbour = np.where(choices - below <= above - choices, below, above)
    return np.where(texts > 1, choices, neighbour).astype(np.int64)[which]


def sentence_bleu(matches: Ints, lengths: Ints, closest: Ints) -> Array:
    """Returns the BLEU of each text, 0 to 1, with smoothing method 1 and uniform weights, as nltk's (texts,).

    Args:
        matches: clipped n-gram matches by order (texts x orders).
        lengths: tokens of each text (texts,).
        closest: closest reference length of each text (texts,).
    """
    totals = ngram_totals(lengths, matches.shape[1])
    precision = np.where(matches == 0, METHOD_1_EPSILON, matches) / np.maximum(totals, 1)
    brevity = np.minimum(1.0 - closest / np.maximum(lengths, 1), 0.0)
    return np.where(matches[:, 0] == 0, 0.0, np.exp(brevity + np.log(precision).mean(axis=1)))


def _changes(values: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Returns where a sorted sequence begins a new value; the first element always does."""
    changed = np.ones(len(values), dtype=np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _largest_and_owner(values: Ints, group: Ints) -> tuple[Ints, Ints]:
    """Returns the largest value of each group and its first place; ``group`` counts from 0 without gaps, ascending."""
    starts = np.flatnonzero(_changes(group))
    largest = np.maximum.reduceat(values, starts) if len(starts) else values
    places = np.flatnonzero(values == largest[group])
    return largest, places[_changes(group[places])]


def _largest_and_owners(values: Ints, group: Ints, how_many: int) -> list[tuple[Ints, Ints]]:
    """Returns the largest, second largest, … value of each group with its place; 0 where a group has fewer."""
    result, rest = [], values.copy()
    for _ in range(how_many):
        result.append(_largest_and_owner(rest, group))
        rest[result[-1][1]] = 0
    return result


def _largest_elsewhere(values: Ints, group: Ints) -> Ints:
    """Returns for each place the largest value at the other places of its group, 0 if there is none."""
    (largest, owner), (second, _) = _largest_and_owners(values, group, 2)
    elsewhere = largest[group]
    elsewhere[owner] = second
    return elsewhere


def _matches_with_others(counts: NGramCounts) -> Ints:
    return counts.per_text(np.minimum(counts.count, _largest_elsewhere(counts.count, counts.gram)))


def _matches_with_references(counts: NGramCounts, n_texts: int) -> Ints:
    in_references = np.where(counts.text < n_texts, 0, counts.count)
    matched = np.minimum(counts.count, counts.largest(in_references)[counts.gram])
    return counts.per_text(matched)[:n_texts]

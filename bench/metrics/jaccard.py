"""Exact Jaccard similarity of all pairs of n-gram sets, in blocks.

The intersections of a block of texts with all others come from two sources. An n-gram that few texts share is looked
up in its list of texts: cost df² for an n-gram in df texts. An n-gram that many share is a column of a 0/1 matrix
product: cost T² for T texts, but at the speed of BLAS. Both are exact, the products being integers below 2^24.
The division is T² at best, so time grows with the square of the number of texts; memory stays at one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.bootstrap import Array
from bench.metrics.ngrams import NGramCounts
from bench.metrics.tokens import Ints

BLOCK_CELLS = 1 << 21
COMMON_SHARE = 1 / 16
"""Share of the texts above which an n-gram is cheaper as a column of a matrix product than as a list of texts."""


@dataclass(frozen=True)
class NGramSets:
    """A range of texts as sets of n-grams.

    Attributes:
        gram: members of all sets, by n-gram (members,).
        text: text of each member, ascending within an n-gram (members,).
        n_texts: number of texts.
        n_grams: number of n-grams, those of other ranges of the same texts included.
    """

    gram: Ints
    text: Ints
    n_texts: int
    n_grams: int

    @classmethod
    def of(cls, counts: NGramCounts, texts: range) -> NGramSets:
        """Returns the sets of the texts in ``texts``, which are numbered from 0 again."""
        chosen = (counts.text >= texts.start) & (counts.text < texts.stop)
        return cls(counts.gram[chosen], counts.text[chosen] - texts.start, len(texts), len(counts.starts))

    @cached_property
    def sizes(self) -> Ints:
        """Members of each set (texts,)."""
        return np.bincount(self.text, minlength=self.n_texts)

    @cached_property
    def frequency(self) -> Ints:
        """Texts that hold each n-gram (n-grams,)."""
        return np.bincount(self.gram, minlength=self.n_grams)

    def columns(self, grams: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Returns which texts hold the chosen n-grams, as a matrix of 0 and 1 (texts x chosen n-grams)."""
        matrix = np.zeros((self.n_texts, int(grams.sum())), dtype=np.float32)
        chosen = grams[self.gram]
        matrix[self.text[chosen], (np.cumsum(grams) - 1)[self.gram[chosen]]] = 1.0
        return matrix


def jaccard_blocks(left: NGramSets, right: NGramSets) -> Iterator[tuple[slice, Array]]:
    """Yields the similarity of a block of left texts with all right texts: rows, matrix (rows x right texts).

    Two empty sets are equal: their similarity is 1.
    """
    common = right.frequency > COMMON_SHARE * right.n_texts
    left_common, right_common = left.columns(common), right.columns(common).T
    begin = np.cumsum(right.frequency) - right.frequency
    rare = np.flatnonzero(~common[left.gram])
    by_text = rare[np.argsort(left.text[rare], kind="stable")]
    rare_text, rare_gram = left.text[by_text], left.gram[by_text]
    height = max(BLOCK_CELLS // right.n_texts, 16)
    for first in range(0, left.n_texts, height):
        rows = slice(first, min(first + height, left.n_texts))
        shared = left_common[rows] @ right_common
        members = slice(*np.searchsorted(rare_text, [rows.start, rows.stop]))
        grams = rare_gram[members]
        lengths = right.frequency[grams]
        posting = np.arange(lengths.sum()) + np.repeat(begin[grams] - np.cumsum(lengths) + lengths, lengths)
        cells = np.repeat((rare_text[members] - first) * right.n_texts, lengths) + right.text[posting]
        np.add.at(shared.reshape(-1), cells, np.float32(1))
        union = np.add.outer(left.sizes[rows], right.sizes) - shared.astype(np.float64)
        both_empty = np.ix_(left.sizes[rows] == 0, right.sizes == 0)
        shared[both_empty] = union[both_empty] = 1
        yield rows, np.divide(shared, union, out=union)

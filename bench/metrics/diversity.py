"""Diversity of the generated texts: Self-BLEU, Dist-n, Jaccard similarity, and novelty against the training texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array, Bootstrap
from bench.errors import unknown_name
from bench.metric import Score
from bench.metrics.jaccard import NGramSets, jaccard_blocks
from bench.metrics.ngrams import (
    check_order,
    closest_other_lengths,
    lost_matches,
    matches_with_others,
    moved_closest_lengths,
    ngrams_of_order,
    sentence_bleu,
)
from bench.metrics.text import AmongGenerationsMetric, PerGenerationMetric, Removals, TextMetric, TextSet
from bench.metrics.tokens import Ints


@dataclass(frozen=True)
class SelfBLEU(AmongGenerationsMetric):
    """Mean sentence BLEU of each generated text with all others as references (Zhu et al. 2018), smoothing method 1.

    Attributes:
        n: highest order.
        tokenizer: see `bench.metrics.tokens`.
        limit: number of texts used, from the first, each against the rest of them; None for all.
    """

    name = "Self-BLEU"
    unit = "%"
    direction = "down"
    needs = ("others",)

    n: int = 4
    tokenizer: str = "13a"
    limit: int | None = None

    def __post_init__(self) -> None:
        check_order(self.n, self.limit)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        refs = f"others-{len(inputs.generations[: self.limit]) - 1}"
        return {"n": self.n, "refs": refs, "smooth": "method1", "tok": self.tokenizer}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        tokens = inputs.tokens("generations", self.tokenizer, self.limit)
        matches = matches_with_others(tokens, self.n)
        return sentence_bleu(matches, tokens.lengths, closest_other_lengths(tokens.lengths))[:, None]

    @override
    def removals(self, inputs: TextSet, cluster_size: int) -> Removals:
        tokens = inputs.tokens("generations", self.tokenizer, self.limit)
        closest = closest_other_lengths(tokens.lengths)
        matches = matches_with_others(tokens, self.n)
        lost = list(lost_matches(tokens, self.n, cluster_size))
        moved = moved_closest_lengths(tokens.lengths, closest, cluster_size)
        keys = [text * len(tokens) + cluster for text, cluster, _ in (*lost, moved)]
        changes, place = np.unique(np.concatenate(keys), return_inverse=True)
        text, cluster = np.divmod(changes, len(tokens))
        *orders, lengths = np.split(place, np.cumsum([len(key) for key in keys[:-1]]))
        matches, closest = matches[text], closest[text]
        for order, (rows, (*_, count)) in enumerate(zip(orders, lost, strict=True)):
            matches[:, order] -= np.bincount(rows, count, len(text)).astype(np.int64)
        closest[lengths] = moved[2]
        return Removals(text, cluster, sentence_bleu(matches, tokens.lengths[text], closest))


@dataclass(frozen=True)
class TexygenSelfBLEU(SelfBLEU):
    """Self-BLEU among the first 500 generated texts, tokenized by nltk, as Texygen computes it."""

    name = "Self-BLEU-texygen"

    tokenizer: str = "treebank"
    limit: int | None = 500


@dataclass(frozen=True)
class Dist(TextMetric):
    """Share of distinct n-grams among all n-grams of all generated texts together (Li et al. 2016).

    It has no interval: a resample repeats texts, so it holds fewer distinct n-grams than the texts it stands for. For
    the same reason the value falls with the number of texts, which the signature therefore states.

    Attributes:
        n: order of the n-grams.
        per: denominator: ``ngrams``, as in most code, or ``tokens``, as in the paper.
        tokenizer: see `bench.metrics.tokens`.
    """

    unit = "%"
    direction = "up"

    n: int
    per: Literal["ngrams", "tokens"] = "ngrams"
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        if self.per not in ("ngrams", "tokens"):
            raise unknown_name("denominator", self.per, ("ngrams", "tokens"))
        check_order(self.n)

    @property
    @override
    def name(self) -> str:
        return f"Dist-{self.n}"

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"n": self.n, "per": self.per, "tok": self.tokenizer, "texts": len(inputs.generations)}

    @override
    def score(self, inputs: TextSet, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the share in %; 0 for texts without any n-gram."""
        tokens = inputs.tokens("generations", self.tokenizer)
        counts = ngrams_of_order(tokens, self.n)
        total = len(tokens.ids) if self.per == "tokens" else int(counts.count.sum())
        return self._score(inputs, 100.0 * len(counts.starts) / max(total, 1), len(tokens))


dist_1 = partial(Dist, 1)
"""Share of distinct unigrams among all unigrams of the generated texts."""
dist_2 = partial(Dist, 2)
"""Share of distinct bigrams among all bigrams of the generated texts."""
dist_3 = partial(Dist, 3)
"""Share of distinct trigrams among all trigrams of the generated texts."""
dist_4 = partial(Dist, 4)
"""Share of distinct 4-grams among all 4-grams of the generated texts."""


@dataclass(frozen=True)
class Jaccard(PerGenerationMetric):
    """Mean Jaccard similarity of the n-gram sets of all pairs of generated texts (Hu et al. 2022, appendix A.3).

    Attributes:
        n: order of the n-grams.
        tokenizer: see `bench.metrics.tokens`.
    """

    unit = "%"
    direction = "down"
    needs = ("others",)

    n: int = 1
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        check_order(self.n)

    @property
    @override
    def name(self) -> str:
        return "Jaccard" if self.n == 1 else f"Jaccard-{self.n}"

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"n": self.n, "over": "pairs", "tok": self.tokenizer}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        """Returns 2 g_i - g for the mean similarity g_i of text i with the others and the mean g of all (texts x 1).

        Their mean is g. A mean over pairs moves by both ends of a pair, so its sampling error is twice that of the
        mean of the g_i (the projection of a U-statistic, Hoeffding 1948); doubled deviations make the intervals right.
        """
        counts = ngrams_of_order(inputs.tokens("generations", self.tokenizer), self.n)
        sets = NGramSets.of(counts, range(counts.n_texts))
        sums = np.concatenate([similarity.sum(axis=1) for _, similarity in jaccard_blocks(sets, sets)])
        mean = (sums - 1.0) / (len(sums) - 1)  # the similarity of a text with itself is 1
        return np.asarray(2.0 * mean - mean.mean())[:, None]


jaccard_1 = partial(Jaccard, 1)
"""Mean Jaccard similarity of the unigram sets of all pairs of generated texts."""
jaccard_2 = partial(Jaccard, 2)
"""Mean Jaccard similarity of the bigram sets of all pairs of generated texts."""
jaccard_3 = partial(Jaccard, 3)
"""Mean Jaccard similarity of the trigram sets of all pairs of generated texts."""


@dataclass(frozen=True)
class DistanceToNearest(PerGenerationMetric):
    """Mean of 1 - Jaccard similarity with the most similar reference text (SentiGAN, Wang and Wan 2018).

    Attributes:
        n: order of the n-grams; SentiGAN's are words.
        tokenizer: see `bench.metrics.tokens`.
    """

    unit = "%"
    direction = "up"

    n: int = 1
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        check_order(self.n)

    @abstractmethod
    def references(self, inputs: TextSet) -> str:
        """Returns the kind and number of the reference texts, for the signature."""

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"n": self.n, "over": "max", "refs": self.references(inputs), "tok": self.tokenizer}


class Diversity(DistanceToNearest, AmongGenerationsMetric):
    """Mean of 1 - Jaccard similarity with the most similar other text (SentiGAN, Wang and Wan 2018, Eq. 11)."""

    name = "Diversity"
    needs = ("others",)

    @override
    def references(self, inputs: TextSet) -> str:
        return f"others-{len(inputs.generations) - 1}"

    @override
    def statistics(self, inputs: TextSet) -> Array:
        return np.concatenate([1.0 - similarity.max(axis=1) for _, similarity in self._to_others(inputs)])[:, None]

    def _to_others(self, inputs: TextSet) -> Iterator[tuple[Ints, Array]]:
        """Yields texts and their similarity with all texts, -1 with themselves."""
        counts = ngrams_of_order(inputs.tokens("generations", self.tokenizer), self.n)
        sets = NGramSets.of(counts, range(counts.n_texts))
        for rows, similarity in jaccard_blocks(sets, sets):
            texts = np.arange(rows.start, rows.stop)
            similarity[np.arange(len(texts)), texts] = -1.0
            yield texts, similarity

    @override
    def removals(self, inputs: TextSet, cluster_size: int) -> Removals:
        parts = []
        for texts, similarity in self._to_others(inputs):
            row, own = np.arange(len(texts)), texts // cluster_size
            best = np.maximum.reduceat(similarity, np.arange(0, similarity.shape[1], cluster_size), axis=1)
            of_own_cluster = best[row, own]
            best[row, own] = -1.0
            nearest = best.argmax(axis=1)
            best[row, nearest] = -1.0
            parts.append((texts, nearest, 1.0 - np.maximum(best.max(axis=1), of_own_cluster)))
        return Removals(*map(np.concatenate, zip(*parts, strict=True)))


class Novelty(DistanceToNearest):
    """Mean of 1 - Jaccard similarity with the most similar training text (SentiGAN, Eq. 10).

    The interval is over the generated texts and holds the training texts fixed.
    """

    name = "Novelty"
    needs = ("train",)

    @override
    def references(self, inputs: TextSet) -> str:
        return f"train-{len(inputs.train)}"

    @override
    def statistics(self, inputs: TextSet) -> Array:
        texts, train = inputs.tokens("generations", self.tokenizer), inputs.tokens("train", self.tokenizer)
        counts = ngrams_of_order(texts + train, self.n)
        left = NGramSets.of(counts, range(len(texts)))
        right = NGramSets.of(counts, range(len(texts), counts.n_texts))
        nearest = np.concatenate([similarity.max(axis=1) for _, similarity in jaccard_blocks(left, right)])
        return 1.0 - nearest[:, None]

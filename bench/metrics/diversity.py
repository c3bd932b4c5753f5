"""How much the samples differ from each other: Self-BLEU, Dist-n and Jaccard similarity."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bench.bootstrap import Array, Bootstrap
from bench.errors import unknown_name
from bench.metric import Metric, Score, Signature, signature
from bench.metrics.jaccard import NGramSets, jaccard_blocks
from bench.metrics.ngrams import (
    check_order,
    closest_other_lengths,
    matches_with_others,
    ngrams_of_order,
    sentence_bleu,
)
from bench.metrics.text import MeanOverTexts, TextSet


@dataclass(frozen=True)
class SelfBLEU(MeanOverTexts):
    """Mean sentence BLEU of each sample with all others as references (Zhu et al. 2018), smoothing method 1.

    The interval is over the scored texts and holds the references fixed.

    Attributes:
        n: highest order.
        tokenizer: see `bench.metrics.tokens`.
        limit: only the first so many samples, each against the rest of them; None for all.
    """

    name = "Self-BLEU"
    version = 1
    unit = "%"
    direction = "down"

    n: int = 4
    tokenizer: str = "13a"
    limit: int | None = None

    def __post_init__(self) -> None:
        check_order(self.n)

    def supports(self, inputs: TextSet) -> str | None:
        """Needs two samples."""
        return inputs.lacks(samples=2)

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, the references, smoothing and tokenizer."""
        others = len(inputs.samples[: self.limit]) - 1
        return signature(
            self.name, self.version, n=self.n, refs=f"others-{others}", smooth="method1", tok=self.tokenizer
        )

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the BLEU of every sample against the others, 0 to 1 (texts x 1)."""
        self.require(inputs)
        tokens = inputs.tokens("samples", self.tokenizer, self.limit)
        matches = matches_with_others(tokens, self.n)
        return sentence_bleu(matches, tokens.lengths, closest_other_lengths(tokens.lengths))[:, None]


@dataclass(frozen=True)
class TexygenSelfBLEU(SelfBLEU):
    """Self-BLEU among the first 500 samples, tokenized by nltk, as Texygen computes it."""

    name = "Self-BLEU-texygen"

    tokenizer: str = "treebank"
    limit: int | None = 500


@dataclass(frozen=True)
class Dist(Metric[TextSet]):
    """Share of distinct n-grams among all n-grams of all samples together (Li et al. 2016).

    It has no interval: a resample repeats texts, so it holds fewer distinct n-grams than the samples it stands for.
    For the same reason the value falls with the number of samples, which the signature therefore states.

    Attributes:
        per: denominator: ``ngrams``, as most code has it, or ``tokens``, as the paper.
        tokenizer: see `bench.metrics.tokens`.
    """

    version = 1
    unit = "%"
    direction = "up"
    n: ClassVar[int]

    per: Literal["ngrams", "tokens"] = "ngrams"
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        if self.per not in ("ngrams", "tokens"):
            raise unknown_name("denominator", self.per, ("ngrams", "tokens"))

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, the denominator, the tokenizer and the number of samples."""
        return signature(self.name, self.version, n=self.n, per=self.per, tok=self.tokenizer, texts=len(inputs.samples))

    def score(self, inputs: TextSet, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the share in %; 0 for samples without any n-gram."""
        tokens = inputs.tokens("samples", self.tokenizer)
        counts = ngrams_of_order(tokens, self.n)
        total = len(tokens.ids) if self.per == "tokens" else int(counts.count.sum())
        return self._score(inputs, 100.0 * len(counts.starts) / max(total, 1), len(tokens))


class Dist1(Dist):
    """Share of distinct unigrams among all unigrams of the samples."""

    name = "Dist-1"
    n = 1


class Dist2(Dist):
    """Share of distinct bigrams among all bigrams of the samples."""

    name = "Dist-2"
    n = 2


class Dist3(Dist):
    """Share of distinct trigrams among all trigrams of the samples."""

    name = "Dist-3"
    n = 3


class Dist4(Dist):
    """Share of distinct 4-grams among all 4-grams of the samples."""

    name = "Dist-4"
    n = 4


@dataclass(frozen=True)
class Jaccard(MeanOverTexts):
    """Mean Jaccard similarity of the n-gram sets of all pairs of samples (Hu et al. 2022, appendix A.3).

    Attributes:
        tokenizer: see `bench.metrics.tokens`.
    """

    version = 1
    unit = "%"
    direction = "down"
    n: ClassVar[int]

    tokenizer: str = "13a"

    def supports(self, inputs: TextSet) -> str | None:
        """Needs two samples."""
        return inputs.lacks(samples=2)

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, what is averaged, and the tokenizer."""
        return signature(self.name, self.version, n=self.n, over="pairs", tok=self.tokenizer)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns 2 g_i - g for the mean similarity g_i of sample i with the others and the mean g of all (texts x 1).

        Their mean is g. A mean over pairs moves by both ends of a pair, so its sampling error is twice that of the
        mean of the g_i (the projection of a U-statistic, Hoeffding 1948); doubled deviations make the intervals right.
        """
        self.require(inputs)
        counts = ngrams_of_order(inputs.tokens("samples", self.tokenizer), self.n)
        sets = NGramSets.of(counts, range(counts.n_texts))
        sums = np.concatenate([similarity.sum(axis=1) for _, similarity in jaccard_blocks(sets, sets)])
        mean = (sums - 1.0) / (len(sums) - 1)  # every sample's similarity with itself is 1
        return np.asarray(2.0 * mean - mean.mean())[:, None]


class Jaccard1(Jaccard):
    """Mean Jaccard similarity of the unigram sets of all pairs of samples."""

    name = "Jaccard"
    n = 1


class Jaccard2(Jaccard):
    """Mean Jaccard similarity of the bigram sets of all pairs of samples."""

    name = "Jaccard-2"
    n = 2


class Jaccard3(Jaccard):
    """Mean Jaccard similarity of the trigram sets of all pairs of samples."""

    name = "Jaccard-3"
    n = 3


@dataclass(frozen=True)
class DistanceToNearest(MeanOverTexts):
    """Mean of 1 - Jaccard similarity with the most similar one of other texts (SentiGAN, Wang and Wan 2018).

    The interval is over the scored texts and holds the others fixed.

    Attributes:
        n: order of the n-grams; SentiGAN's are words.
        tokenizer: see `bench.metrics.tokens`.
    """

    version = 1
    unit = "%"
    direction = "up"

    n: int = 1
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        check_order(self.n)

    @abstractmethod
    def others(self, inputs: TextSet) -> str:
        """Returns which the other texts are, and how many."""

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, the reduction over the others, which and how many they are, and the tokenizer."""
        return signature(self.name, self.version, n=self.n, over="max", refs=self.others(inputs), tok=self.tokenizer)


class Diversity(DistanceToNearest):
    """Mean of 1 - Jaccard similarity with the most similar other sample (SentiGAN, Wang and Wan 2018, Eq. 11)."""

    name = "Diversity"

    def supports(self, inputs: TextSet) -> str | None:
        """Needs two samples."""
        return inputs.lacks(samples=2)

    def others(self, inputs: TextSet) -> str:
        """Returns the other samples."""
        return f"others-{len(inputs.samples) - 1}"

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the distance of every sample to its nearest other, 0 to 1 (texts x 1)."""
        self.require(inputs)
        counts = ngrams_of_order(inputs.tokens("samples", self.tokenizer), self.n)
        sets = NGramSets.of(counts, range(counts.n_texts))
        nearest = np.empty(counts.n_texts)
        for rows, similarity in jaccard_blocks(sets, sets):
            similarity[np.arange(len(similarity)), np.arange(rows.start, rows.stop)] = -1.0  # not with itself
            nearest[rows] = similarity.max(axis=1)
        return 1.0 - nearest[:, None]


class Novelty(DistanceToNearest):
    """Mean of 1 - Jaccard similarity with the most similar training text (SentiGAN, Eq. 10)."""

    name = "Novelty"

    def supports(self, inputs: TextSet) -> str | None:
        """Needs the training texts."""
        return inputs.lacks(train=True)

    def others(self, inputs: TextSet) -> str:
        """Returns the training texts."""
        return f"train-{len(inputs.train)}"

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the distance of every sample to its nearest training text, 0 to 1 (texts x 1)."""
        self.require(inputs)
        samples, train = inputs.tokens("samples", self.tokenizer), inputs.tokens("train", self.tokenizer)
        counts = ngrams_of_order(samples + train, self.n)
        left = NGramSets.of(counts, range(len(samples)))
        right = NGramSets.of(counts, range(len(samples), counts.n_texts))
        nearest = np.concatenate([similarity.max(axis=1) for _, similarity in jaccard_blocks(left, right)])
        return 1.0 - nearest[:, None]

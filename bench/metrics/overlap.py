"""Overlap with references: BLEU of pairs, BLEU against a whole corpus, and ROUGE."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from sacrebleu.metrics import bleu as sacrebleu

from bench.bootstrap import Array
from bench.metric import Signature, signature
from bench.metrics.ngrams import check_order, closest_lengths, matches_with_references, ngram_totals, sentence_bleu
from bench.metrics.text import MeanOverTexts, OfPairs, PerSampleMetric, TextSet
from bench.metrics.tokens import load_tokenizer


@dataclass(frozen=True)
class CorpusBLEU(PerSampleMetric):
    """BLEU from summed counts; columns: length, closest reference length, matches and totals by order.

    Attributes:
        n: highest order.
        tokenizer: see `bench.metrics.tokens`.
    """

    version = 1
    unit = "%"
    direction = "up"

    n: int = 4
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        check_order(self.n)

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns sacrebleu's score of the summed counts, smoothing ``exp``."""
        # The sums are integers; rounding takes the error of the mean out again.
        sums = np.rint(means * n).astype(np.int64)
        rows = sums.reshape(-1, sums.shape[-1]).tolist()
        return np.array([self._bleu(*row) for row in rows]).reshape(sums.shape[:-1])

    def _bleu(self, length: int, closest: int, *counts: int) -> float:
        matches, totals = list(counts[: self.n]), list(counts[self.n :])
        score = sacrebleu.BLEU.compute_bleu(
            matches, totals, length, closest, smooth_method="exp", max_ngram_order=self.n
        )
        return float(score.score)


@dataclass(frozen=True)
class BLEU(CorpusBLEU, OfPairs):
    """Corpus BLEU of pairs (Papineni et al. 2002), by sacrebleu (Post 2018)."""

    name = "BLEU"

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, the references per sample, smoothing and tokenizer."""
        counts = sorted({len(references) for references in inputs.references})
        refs = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        return signature(self.name, self.version, n=self.n, refs=refs, smooth="exp", tok=self.tokenizer)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns sacrebleu's counts of every pair (texts x 2 + 2n)."""
        self.require(inputs)
        tokenize = load_tokenizer(self.tokenizer)
        scorer = sacrebleu.BLEU(tokenize="none", max_ngram_order=self.n, effective_order=True)
        rows = []
        for sample, references in zip(inputs.samples, inputs.references, strict=True):
            pieces = [" ".join(tokenize(text)) for text in (sample, *references)]
            score = scorer.sentence_score(pieces[0], pieces[1:])
            rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
        return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class AllReferencesBLEU(CorpusBLEU):
    """Corpus BLEU of unconditional samples: every text of the corpus is a reference of every sample.

    An n-gram of a sample matches up to its largest count in any one reference, so the value is sacrebleu's with the
    whole corpus as references.
    """

    name = "BLEU-all"

    def supports(self, inputs: TextSet) -> str | None:
        """Needs texts of the domain."""
        return inputs.lacks(corpus=True)

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, the number of references, smoothing and tokenizer."""
        refs = f"all-{len(inputs.comparison)}"
        return signature(self.name, self.version, n=self.n, refs=refs, smooth="exp", tok=self.tokenizer)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the counts of every sample against all references (texts x 2 + 2n)."""
        self.require(inputs)
        samples, references = inputs.tokens("samples", self.tokenizer), inputs.tokens("corpus", self.tokenizer)
        lengths = np.stack([samples.lengths, closest_lengths(samples.lengths, references.lengths)], axis=1)
        matches = matches_with_references(samples, references, self.n)
        return np.concatenate([lengths, matches, ngram_totals(samples.lengths, self.n)], axis=1).astype(np.float64)


@dataclass(frozen=True)
class TexygenBLEU(MeanOverTexts):
    """Mean sentence BLEU against the first 500 texts of the corpus (Texygen, Zhu et al. 2018).

    Attributes:
        n: highest order.
        tokenizer: Texygen's is nltk's.
        limit: number of references, from the first; None for all.
    """

    name = "BLEU-texygen"
    version = 1
    unit = "%"
    direction = "up"

    n: int = 4
    tokenizer: str = "treebank"
    limit: int | None = 500

    def __post_init__(self) -> None:
        check_order(self.n)

    def supports(self, inputs: TextSet) -> str | None:
        """Needs texts of the domain."""
        return inputs.lacks(corpus=True)

    def signature(self, inputs: TextSet) -> Signature:
        """Returns n, the number of references, the form, smoothing and tokenizer."""
        refs = f"first-{len(inputs.comparison[: self.limit])}"
        fields = {"n": self.n, "refs": refs, "over": "sentences", "smooth": "method1", "tok": self.tokenizer}
        return signature(self.name, self.version, **fields)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the BLEU of every sample, 0 to 1 (texts x 1)."""
        self.require(inputs)
        samples = inputs.tokens("samples", self.tokenizer)
        references = inputs.tokens("corpus", self.tokenizer, self.limit)
        matches = matches_with_references(samples, references, self.n)
        closest = closest_lengths(samples.lengths, references.lengths)
        return sentence_bleu(matches, samples.lengths, closest)[:, None]


_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


def rouge_tokens(text: str, stem: bool = False) -> list[str]:
    """Returns the tokens ROUGE sees: lower-case runs of a-z and 0-9, everything else a boundary.

    Args:
        text: any text; letters outside a-z are boundaries too, as in rouge-score and the original script.
        stem: whether words of more than three letters are reduced by the Porter stemmer.
    """
    words = _NOT_ALPHANUMERIC.sub(" ", text.lower()).split()
    if not stem:
        return words
    porter = _porter_stemmer()
    return [porter(word) if len(word) > 3 else word for word in words]


@cache
def _porter_stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    stem: Callable[[str], str] = PorterStemmer().stem
    return stem


def lcs_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Returns the length of the longest common subsequence.

    One row of the dynamic programme is the bits of one integer (Hyyrö 2004), so a row costs a few operations on
    words of 64 cells: a zero bit marks a cell that is larger than its left neighbour.
    """
    places: dict[Hashable, int] = {}
    for place, item in enumerate(first):
        places[item] = places.get(item, 0) | (1 << place)
    full = (1 << len(first)) - 1
    row = full
    for item in second:
        matched = row & places.get(item, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()


@dataclass(frozen=True)
class Rouge(MeanOverTexts, OfPairs):
    """Mean F1 of pairs (Lin 2004), equal to rouge-score's; of several references the one with the best F1 counts.

    Attributes:
        stem: Porter stemming.
    """

    version = 1
    unit = "%"
    direction = "up"

    stem: bool = False

    @abstractmethod
    def overlap(self, sample: list[str], reference: list[str]) -> tuple[int, int, int]:
        """Returns the number of matched units, of units in the sample and of units in the reference."""

    def signature(self, inputs: TextSet) -> Signature:
        """Returns the tokenization and whether words are stemmed."""
        return signature(self.name, self.version, of="f1", tok="rouge", stem=self.stem)

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the F1 of every pair, 0 to 1 (texts x 1)."""
        self.require(inputs)
        pairs = zip(inputs.samples, inputs.references, strict=True)
        return np.array([[max(self._f1s(sample, references))] for sample, references in pairs])

    def _f1s(self, sample: str, references: Sequence[str]) -> list[float]:
        tokens = rouge_tokens(sample, self.stem)
        overlaps = [self.overlap(tokens, rouge_tokens(reference, self.stem)) for reference in references]
        # 2PR / (P + R) with P = matched / in_sample and R = matched / in_reference.
        return [2 * matched / max(in_sample + in_reference, 1) for matched, in_sample, in_reference in overlaps]


class RougeN(Rouge):
    """ROUGE-N: clipped n-gram matches."""

    n: ClassVar[int]

    def overlap(self, sample: list[str], reference: list[str]) -> tuple[int, int, int]:
        """Returns the clipped n-gram matches and both numbers of n-grams."""
        grams, others = (Counter(zip(*(text[i:] for i in range(self.n)), strict=False)) for text in (sample, reference))
        return (grams & others).total(), grams.total(), others.total()


class Rouge1(RougeN):
    """ROUGE-1: mean F1 of the unigrams of pairs."""

    name = "ROUGE-1"
    n = 1


class Rouge2(RougeN):
    """ROUGE-2: mean F1 of the bigrams of pairs."""

    name = "ROUGE-2"
    n = 2


class RougeL(Rouge):
    """ROUGE-L: mean F1 of the longest common subsequence of pairs."""

    name = "ROUGE-L"

    def overlap(self, sample: list[str], reference: list[str]) -> tuple[int, int, int]:
        """Returns the length of the longest common subsequence and both lengths."""
        return lcs_length(sample, reference), len(sample), len(reference)

"""Overlap with references: BLEU of pairs, BLEU against a whole corpus, and ROUGE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import numpy as np
from sacrebleu.metrics import bleu as sacrebleu
from typing_extensions import override

from bench.bootstrap import Array
from bench.metrics.ngrams import check_order, closest_lengths, matches_with_references, ngram_totals, sentence_bleu
from bench.metrics.text import PerGenerationMetric, TextSet
from bench.metrics.tokens import load_tokenizer


@dataclass(frozen=True)
class CorpusBLEU(PerGenerationMetric):
    """BLEU from summed counts; columns: length, closest reference length, matches and totals by order.

    Attributes:
        n: highest order.
        tokenizer: see `bench.metrics.tokens`.
    """

    unit = "%"
    direction = "up"

    n: int = 4
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        check_order(self.n)

    @override
    def aggregate(self, means: Array, n: int) -> Array:
        """Returns sacrebleu's score of the summed counts, smoothing ``exp``."""
        # The sums are integers; rounding removes the error of the mean.
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
class BLEU(CorpusBLEU):
    """Corpus BLEU of pairs (Papineni et al. 2002), by sacrebleu (Post 2018)."""

    name = "BLEU"
    needs = ("pairs",)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        counts = sorted({len(references) for references in inputs.references})
        refs = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        return {"n": self.n, "refs": refs, "smooth": "exp", "tok": self.tokenizer}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        tokenize = load_tokenizer(self.tokenizer)
        scorer = sacrebleu.BLEU(tokenize="none", max_ngram_order=self.n, effective_order=True)
        rows = []
        for generated, references in zip(inputs.generations, inputs.references, strict=True):
            pieces = [" ".join(tokenize(text)) for text in (generated, *references)]
            score = scorer.sentence_score(pieces[0], pieces[1:])
            rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
        return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class AllReferencesBLEU(CorpusBLEU):
    """Corpus BLEU of unconditional generation: every text of the corpus is a reference of every generated text.

    An n-gram matches up to its largest count in any one reference, so the value is sacrebleu's with the whole corpus as
    references.
    """

    name = "BLEU-all"
    needs = ("corpus",)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"n": self.n, "refs": f"all-{len(inputs.comparison)}", "smooth": "exp", "tok": self.tokenizer}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        texts, references = inputs.tokens("generations", self.tokenizer), inputs.tokens("corpus", self.tokenizer)
        lengths = np.stack([texts.lengths, closest_lengths(texts.lengths, references.lengths)], axis=1)
        matches = matches_with_references(texts, references, self.n)
        return np.concatenate([lengths, matches, ngram_totals(texts.lengths, self.n)], axis=1).astype(np.float64)


@dataclass(frozen=True)
class TexygenBLEU(PerGenerationMetric):
    """Mean sentence BLEU against the first 500 texts of the corpus (Texygen, Zhu et al. 2018).

    Attributes:
        n: highest order.
        tokenizer: Texygen's is nltk's.
        limit: number of references, from the first; None for all.
    """

    name = "BLEU-texygen"
    unit = "%"
    direction = "up"
    needs = ("corpus",)

    n: int = 4
    tokenizer: str = "treebank"
    limit: int | None = 500

    def __post_init__(self) -> None:
        check_order(self.n, self.limit)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        refs = f"first-{len(inputs.comparison[: self.limit])}"
        return {"n": self.n, "refs": refs, "over": "sentences", "smooth": "method1", "tok": self.tokenizer}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        texts = inputs.tokens("generations", self.tokenizer)
        references = inputs.tokens("corpus", self.tokenizer, self.limit)
        matches = matches_with_references(texts, references, self.n)
        closest = closest_lengths(texts.lengths, references.lengths)
        return sentence_bleu(matches, texts.lengths, closest)[:, None]


_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


def rouge_tokens(text: str, stem: bool = False) -> list[str]:
    """Returns the tokens of ROUGE: lower-case runs of a-z and 0-9, everything else a boundary.

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
class ROUGE(PerGenerationMetric):
    """Mean F1 of pairs (Lin 2004), equal to rouge-score's; of several references the one with the best F1 counts.

    Attributes:
        units: that match: n-grams of an order, clipped, or ``L`` for the longest common subsequence.
        stem: Porter stemming.
    """

    unit = "%"
    direction = "up"
    needs = ("pairs",)

    units: int | Literal["L"] = "L"
    stem: bool = False

    @property
    @override
    def name(self) -> str:
        return f"ROUGE-{self.units}"

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        return {"of": "f1", "tok": "rouge", "stem": self.stem}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        rows = []
        for generated, references in zip(inputs.generations, inputs.references, strict=True):
            tokens = rouge_tokens(generated, self.stem)
            rows.append([max(self._f1(tokens, rouge_tokens(reference, self.stem)) for reference in references)])
        return np.array(rows)

    def _f1(self, generated: list[str], reference: list[str]) -> float:
        if self.units == "L":
            matches, totals = lcs_length(generated, reference), len(generated) + len(reference)
        else:
            n = self.units
            first, second = (
                Counter(zip(*(tokens[i:] for i in range(n)), strict=False)) for tokens in (generated, reference)
            )
            matches, totals = (first & second).total(), first.total() + second.total()
        # 2PR / (P + R), where P and R are the matches over the units of either text.
        return 2 * matches / max(totals, 1)


rouge_1 = partial(ROUGE, 1)
"""ROUGE-1: mean F1 of the unigrams of pairs."""
rouge_2 = partial(ROUGE, 2)
"""ROUGE-2: mean F1 of the bigrams of pairs."""
rouge_l = partial(ROUGE, "L")
"""ROUGE-L: mean F1 of the longest common subsequence of pairs."""

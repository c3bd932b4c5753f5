"""Speed of the text metrics on generated texts: growth with their number and length, and nltk beside Self-BLEU."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from pytest_benchmark.fixture import BenchmarkFixture

from bench.metrics.text import TEXT_METRICS, TextSet
from tests.benchmarks.figures import Beside, Growth

NUMBERS = (2_500, 5_000, 10_000, 20_000)
LENGTHS = (25, 50, 100)
PAIRWISE = ("Jaccard", "Jaccard-2", "Diversity", "Novelty")
"""Metrics with one quotient per pair of texts."""
WITHOUT_ENCODER = sorted(set(TEXT_METRICS.builtin) - {"MAUVE", "BERTScore"})


@cache
def zipf_texts(n: int, mean_length: int, seed: int) -> tuple[str, ...]:
    """Returns texts of 20,000 words with frequency 1 / rank^1.05 and lengths from half to one and a half the mean."""
    rng = np.random.default_rng(seed)
    frequency = 1.0 / np.arange(1, 20_001) ** 1.05
    lengths = rng.integers(mean_length // 2, 3 * mean_length // 2 + 1, size=n)
    words = rng.choice(len(frequency), size=lengths.sum(), p=frequency / frequency.sum())
    return tuple(" ".join(f"w{word}" for word in text) for text in np.split(words, np.cumsum(lengths)[:-1]))


def scoring(name: str, n: int, mean_length: int = 20) -> Callable[[], float]:
    """Returns what scores n texts, five of a source, tokenization included."""
    metric = TEXT_METRICS.get(name)()
    samples, corpus = zipf_texts(n, mean_length, 0), zipf_texts(n, mean_length, 1)
    inputs = TextSet(samples, tuple((text,) for text in corpus), corpus, corpus, per_source=5)
    # A set keeps its tokens; a new one has none yet.
    return lambda: metric.score(replace(inputs)).value


@pytest.mark.parametrize("name", ["Self-BLEU", "BLEU-all", "Dist-4", "CND", "Self-BLEU[source]"])
def test_growth_with_the_number_of_texts(growth: Growth, name: str) -> None:
    growth(lambda n: scoring(name, n), "texts", NUMBERS, at_most=1.1, rounds=3, mean_length=20)


@pytest.mark.parametrize("name", PAIRWISE)
def test_all_pairs_in_little_memory(benchmark: BenchmarkFixture, growth: Growth, name: str) -> None:
    growth(lambda n: scoring(name, n), "texts", NUMBERS[:3], at_most=2.1, rounds=3, mean_length=20)
    work = scoring(name, NUMBERS[2])
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    benchmark.extra_info["peak_bytes"] = peak
    assert peak <= 2e9


@pytest.mark.parametrize("name", WITHOUT_ENCODER)
def test_growth_with_the_length_of_texts(growth: Growth, name: str) -> None:
    growth(lambda length: scoring(name, 1_000, length), "words per text", LENGTHS, at_most=1.1, texts=1_000)


def test_self_bleu_beside_nltk(beside: Beside) -> None:
    """nltk compares each pair of texts, ours counts all n-grams once: the ratio falls with the number of texts."""
    n = 200
    ours = scoring("Self-BLEU", n)
    tokens = [text.split() for text in zipf_texts(n, 20, 0)]
    smooth = SmoothingFunction().method1

    def nltk() -> float:
        scores = [
            sentence_bleu(tokens[:place] + tokens[place + 1 :], tokens[place], smoothing_function=smooth)
            for place in range(n)
        ]
        return 100 * sum(scores) / n

    # Sums of 200 scores in another order.
    assert ours() == pytest.approx(nltk(), rel=1e-12)
    beside(ours, nltk, at_most=0.02, rounds=3, texts=n, mean_length=20)

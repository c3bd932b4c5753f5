"""Speed of the text metrics: growth with the number of texts, ratio to nltk, peak memory, on generated texts.

Only ratios fail a run. Seconds are in ``extra_info`` beside the budget they are meant for; growth is in CPU time,
which other programs on the machine disturb less.
"""

from __future__ import annotations

import time
import tracemalloc
from functools import cache
from statistics import median

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from pytest_benchmark.fixture import BenchmarkFixture

from bench.metrics.text import TEXT_METRICS, TextSet, text_metrics

N = 10_000
ROUNDS = 3
LINEAR = {"Self-BLEU": 3.0, "BLEU-all": 5.0, "Dist-4": 2.0, "CND": 2.0}
"""Metrics whose time is linear in the number of texts, with seconds for 10,000 texts of about 20 tokens."""
CORE = sorted(set(TEXT_METRICS) - {"MAUVE", "BERTScore"})


@cache
def zipf_texts(n: int, mean_length: int, seed: int) -> tuple[str, ...]:
    """Returns texts of 20,000 words with frequency 1 / rank^1.05 and lengths from half to one and a half the mean."""
    rng = np.random.default_rng(seed)
    frequency = 1.0 / np.arange(1, 20_001) ** 1.05
    lengths = rng.integers(mean_length // 2, 3 * mean_length // 2 + 1, size=n)
    words = rng.choice(len(frequency), size=lengths.sum(), p=frequency / frequency.sum())
    return tuple(" ".join(f"w{word}" for word in text) for text in np.split(words, np.cumsum(lengths)[:-1]))


def text_set(n: int, mean_length: int = 20) -> TextSet:
    """Returns a new set, so that nothing is tokenized yet."""
    samples, corpus = zipf_texts(n, mean_length, 0), zipf_texts(n, mean_length, 1)
    return TextSet(samples, tuple((text,) for text in corpus), corpus, corpus)


def cpu_seconds(name: str, n: int, rounds: int = ROUNDS) -> float:
    """Returns the median CPU time of scoring n texts of about 20 tokens, tokenization included."""
    metric = text_metrics.get(name)()
    seconds = []
    for _ in range(rounds):
        inputs = text_set(n)
        start = time.process_time()
        metric.score(inputs)
        seconds.append(time.process_time() - start)
    return median(seconds)


@pytest.mark.parametrize("name", LINEAR)
def test_ten_times_the_texts_cost_at_most_twelve_times_the_time(benchmark: BenchmarkFixture, name: str) -> None:
    metric = text_metrics.get(name)()
    benchmark.pedantic(metric.score, setup=lambda: ((text_set(N),), {}), rounds=ROUNDS)
    growth = cpu_seconds(name, 10 * N, rounds=1) / cpu_seconds(name, N)
    benchmark.extra_info |= {"budget_s": LINEAR[name], "growth_x10": growth}
    assert growth <= 12


def test_self_bleu_against_nltk(benchmark: BenchmarkFixture) -> None:
    metric = text_metrics.get("Self-BLEU")()
    benchmark.pedantic(metric.score, setup=lambda: ((text_set(N),), {}), rounds=ROUNDS)
    # nltk costs one comparison per pair: 20 of 1,000 texts are timed, and scaled to 10,000 texts by their square.
    tokens = [text.split() for text in zipf_texts(1000, 20, 0)]
    smooth = SmoothingFunction().method1
    start = time.process_time()
    for place in range(20):
        sentence_bleu(tokens[:place] + tokens[place + 1 :], tokens[place], smoothing_function=smooth)
    nltk_seconds = (time.process_time() - start) * (1000 / 20) * (N / 1000) ** 2
    ratio = nltk_seconds / cpu_seconds("Self-BLEU", N)
    benchmark.extra_info |= {"budget_s": LINEAR["Self-BLEU"], "nltk_extrapolated_s": nltk_seconds, "ratio": ratio}
    assert ratio >= 200


@pytest.mark.parametrize("name", ["Jaccard", "Jaccard-2", "Diversity", "Novelty"])
def test_jaccard_of_all_pairs_in_little_memory(benchmark: BenchmarkFixture, name: str) -> None:
    metric = text_metrics.get(name)()
    benchmark.pedantic(metric.score, setup=lambda: ((text_set(N),), {}), rounds=ROUNDS)
    # One quotient per pair: twice the texts are four times the quotients.
    growth = cpu_seconds(name, 2 * N, rounds=1) / cpu_seconds(name, N)
    inputs = text_set(N)
    tracemalloc.start()
    metric.score(inputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    benchmark.extra_info |= {"budget_s": 10.0, "growth_x2": growth, "peak_gb": peak / 1e9}
    assert growth <= 6
    assert peak <= 2e9


@pytest.mark.parametrize("name", CORE)
def test_long_texts(benchmark: BenchmarkFixture, name: str) -> None:
    metric = text_metrics.get(name)()
    benchmark.extra_info["budget_s"] = 60.0
    score = benchmark.pedantic(metric.score, setup=lambda: ((text_set(N, mean_length=100),), {}), rounds=1)
    assert np.isfinite(score.value)

"""Diversity within sources against its definition, source by source; intervals that keep a source together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from bench.bootstrap import Array, Bootstrap
from bench.errors import BenchError
from bench.metrics.overlap import BLEU
from bench.metrics.surface import Length
from bench.metrics.text import TEXT_METRICS, TextSet
from bench.metrics.tokens import load_tokenizer
from tests.metrics.text_cases import AWKWARD, random_texts, texts

WITHIN = sorted(name for name in TEXT_METRICS.builtin if name.endswith("[source]"))


def words(text: str) -> list[str]:
    return load_tokenizer("13a")(text)


def self_bleu(samples: Sequence[str]) -> float:
    smooth = SmoothingFunction().method1
    tokens = [words(text) for text in samples]
    scores = [
        sentence_bleu([*tokens[:i], *tokens[i + 1 :]], tokens[i], (0.25,) * 4, smooth) for i in range(len(tokens))
    ]
    return fmean(map(float, scores))


def distinct(samples: Sequence[str], n: int) -> float:
    grams = [gram for text in samples for gram in zip(*(words(text)[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / max(len(grams), 1)


def similarity(first: str, second: str) -> float:
    a, b = set(words(first)), set(words(second))
    return len(a & b) / len(a | b) if a | b else 1.0


def to_nearest(samples: Sequence[str]) -> float:
    nearest = [max(similarity(a, b) for j, b in enumerate(samples) if j != i) for i, a in enumerate(samples)]
    return 1 - fmean(nearest)


DEFINITIONS: dict[str, Callable[[Sequence[str]], float]] = {
    "Self-BLEU[source]": self_bleu,
    "Dist-1[source]": lambda samples: distinct(samples, 1),
    "Dist-2[source]": lambda samples: distinct(samples, 2),
    "Jaccard[source]": lambda samples: fmean(similarity(*pair) for pair in combinations(samples, 2)),
    "Diversity[source]": to_nearest,
}


def test_every_metric_has_its_definition_here() -> None:
    assert sorted(DEFINITIONS) == WITHIN


@pytest.mark.parametrize("name", WITHIN)
@settings(deadline=None, max_examples=40)
@given(st.integers(2, 4).flatmap(lambda k: st.lists(st.lists(texts, min_size=k, max_size=k), min_size=1, max_size=4)))
def test_it_is_the_mean_of_the_sources(name: str, groups: list[list[str]]) -> None:
    inputs = TextSet(tuple(text for group in groups for text in group), per_source=len(groups[0]))
    score = TEXT_METRICS.get(name)().score(inputs)
    # 1e-10 in %: the mean of at most 4 means of at most 6 quotients or products.
    assert score.value == pytest.approx(100 * fmean(map(DEFINITIONS[name], groups)), abs=1e-10)
    assert score.n == len(groups)


def test_sources_are_told_apart_by_place_and_seen_alone() -> None:
    """Three sources, each with one answer of its own given twice: diverse when pooled, not at all within a source."""
    inputs = TextSet(("a b c d",) * 2 + ("e f g h",) * 2 + ("i j k l",) * 2, per_source=2)
    values = {name: TEXT_METRICS.get(name)().score(inputs).value for name in WITHIN}
    assert values == pytest.approx(
        {
            "Self-BLEU[source]": 100,
            "Dist-1[source]": 50,
            "Dist-2[source]": 50,
            "Jaccard[source]": 100,
            "Diversity[source]": 0,
        }
    )
    assert TEXT_METRICS.get("Jaccard")().score(inputs).value == pytest.approx(20)  # 3 of 15 pairs


def test_the_signature_names_the_scope_and_the_samples() -> None:
    inputs = TextSet(AWKWARD, per_source=5)
    signatures = [TEXT_METRICS.get(name)(tokenizer="whitespace").score(inputs).signature for name in WITHIN]
    assert signatures == [
        "Dist-1[source]|n:1|per:ngrams|tok:whitespace|texts:5|within:source|samples:5|v:1",
        "Dist-2[source]|n:2|per:ngrams|tok:whitespace|texts:5|within:source|samples:5|v:1",
        "Diversity[source]|n:1|over:max|refs:others-4|tok:whitespace|within:source|samples:5|v:1",
        "Jaccard[source]|n:1|over:pairs|tok:whitespace|within:source|samples:5|v:1",
        "Self-BLEU[source]|n:4|refs:others-4|smooth:method1|tok:whitespace|within:source|samples:5|v:1",
    ]


@pytest.mark.parametrize("name", WITHIN)
def test_without_several_samples_per_source_there_is_a_reason(name: str) -> None:
    metric = TEXT_METRICS.get(name)()
    for per_source in (None, 1):
        with pytest.raises(BenchError, match=r"needs several samples per source$"):
            metric.score(TextSet(AWKWARD, per_source=per_source))


@pytest.mark.parametrize("per_source", [0, 3, 20])
def test_a_source_has_all_its_samples(per_source: int) -> None:
    with pytest.raises(BenchError, match=f"^sources: 10 generated texts are not {per_source} for each source$"):
        TextSet(AWKWARD, per_source=per_source)


def test_the_parts_are_tokenized_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def tokenize(text: str) -> list[str]:
        seen.append(text)
        return text.split()

    monkeypatch.setattr("bench.metrics.text.load_tokenizer", lambda name: tokenize)
    samples = random_texts(12, seed=1)
    inputs = TextSet(samples, per_source=3)
    for name in [*WITHIN, "Self-BLEU", "Dist-1"]:
        TEXT_METRICS.get(name)().score(inputs)
    assert seen == list(samples)


# --- intervals ----------------------------------------------------------------------------------------------------


def test_the_interval_is_over_sources() -> None:
    samples, bootstrap = random_texts(60, seed=2), Bootstrap(samples=300, seed=4)
    score = TEXT_METRICS.get("Dist-1[source]")().score(TextSet(samples, per_source=4), bootstrap)
    values = np.array([100 * distinct(samples[i : i + 4], 1) for i in range(0, 60, 4)])
    expected = bootstrap.interval(values[:, None], lambda means, n: means[..., 0])
    assert score.interval is not None
    assert (score.interval.low, score.interval.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert score.interval.method == "bootstrap:300:4"


def of_sources(seed: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Returns 5 samples for each of 40 sources: of one length by the source, which they therefore share."""
    rng = np.random.default_rng(seed)
    lengths = np.repeat(rng.integers(1, 30, 40), 5)
    samples = tuple(" ".join(rng.choice(["a", "b", "c"], length)) for length in lengths)
    references = tuple((" ".join(rng.choice(["a", "b", "c"], length)),) for length in lengths)
    return samples, references


@pytest.mark.parametrize("metric", [BLEU(n=1), Length()], ids=lambda metric: metric.name)
def test_samples_of_a_source_are_resampled_as_one(metric: BLEU | Length) -> None:
    """The interval is as wide as the scores of other sources scatter; that of independent samples is too narrow."""
    values: list[float] = []
    widths: list[Array] = []
    for seed in range(100):
        samples, references = of_sources(seed)
        together, alone = (
            metric.score(TextSet(samples, references, per_source=k), Bootstrap(100, seed)) for k in (5, 1)
        )
        assert together.value == alone.value
        assert together.interval is not None
        assert alone.interval is not None
        assert together.interval.method == f"bootstrap:100:{seed}:clusters-of-5"
        values.append(together.value)
        widths.append(
            np.array([interval.high - interval.low for interval in (together.interval, alone.interval)]) / (2 * 1.96)
        )
    clustered, independent = np.mean(widths, axis=0) / np.std(values, ddof=1)
    # Standard error of a standard deviation from 100 draws: 7 %; intervals of 40 sources run a little narrow.
    assert 0.8 < clustered < 1.25
    if isinstance(metric, Length):
        assert independent < 0.6  # 1 / sqrt(5) of it, samples of a source being of equal length


def test_a_cut_list_may_end_inside_a_source() -> None:
    """Texygen's first so many samples need not be whole sources."""
    samples = random_texts(12, seed=3)
    metric = TEXT_METRICS.get("Self-BLEU-texygen")(limit=8)
    score = metric.score(TextSet(samples, per_source=3), Bootstrap(100))
    assert score.value == metric.score(TextSet(samples)).value
    assert score.interval is not None
    assert score.interval.low <= score.value <= score.interval.high

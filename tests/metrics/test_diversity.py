"""Dist-n, Jaccard and the surface metrics against their definitions written out over all pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.bootstrap import Array, Bootstrap, Interval
from bench.errors import BenchError
from bench.metrics import jaccard
from bench.metrics.diversity import Dist, Diversity, Jaccard, Novelty, SelfBLEU
from bench.metrics.surface import CopyRate, EmptyRate, Length
from bench.metrics.text import AmongGenerationsMetric, TextSet
from bench.metrics.tokens import load_tokenizer
from tests.metrics.text_cases import AWKWARD, random_texts, real_texts, text_lists, texts

two_or_more = st.lists(texts, min_size=2, max_size=7).map(tuple)


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = load_tokenizer("13a")(text)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def similarity(first: str, second: str, n: int) -> float:
    a, b = set(ngrams(first, n)), set(ngrams(second, n))
    return len(a & b) / len(a | b) if a | b else 1.0


def all_similarities(left: tuple[str, ...], right: tuple[str, ...], n: int) -> np.ndarray:
    return np.array([[similarity(a, b, n) for b in right] for a in left])


def mean_of_pairs(texts: tuple[str, ...], n: int) -> float:
    matrix = all_similarities(texts, texts, n)
    return float(matrix[np.triu_indices(len(texts), k=1)].mean())


@settings(deadline=None)
@given(text_lists)
def test_dist_is_the_share_of_distinct_ngrams(samples: tuple[str, ...]) -> None:
    inputs = TextSet(samples)
    tokens = sum(len(ngrams(text, 1)) for text in samples)
    for n in range(1, 5):
        pooled = [gram for text in samples for gram in ngrams(text, n)]
        distinct = len(set(pooled))
        assert Dist(n).score(inputs).value == pytest.approx(100 * distinct / max(len(pooled), 1), abs=1e-12)
        assert Dist(n, per="tokens").score(inputs).value == pytest.approx(100 * distinct / max(tokens, 1), abs=1e-12)


def test_dist_names_its_denominator() -> None:
    inputs = TextSet(AWKWARD)
    assert Dist(2).score(inputs).signature == "Dist-2|n:2|per:ngrams|tok:13a|texts:10|v:1"
    assert "per:tokens" in Dist(2, per="tokens").score(inputs).signature
    with pytest.raises(BenchError, match=r"unknown denominator 'token'\. Did you mean 'tokens'"):
        Dist(2, per="token")


@settings(deadline=None)
@given(two_or_more)
def test_jaccard_is_the_mean_over_all_pairs(samples: tuple[str, ...]) -> None:
    for n in range(1, 4):
        # 1e-10 in %: the mean of at most 21 quotients.
        assert Jaccard(n).score(TextSet(samples)).value == pytest.approx(100 * mean_of_pairs(samples, n), abs=1e-10)


@settings(deadline=None)
@given(two_or_more, text_lists, st.integers(1, 3))
def test_nearest_texts_are_the_most_similar(samples: tuple[str, ...], train: tuple[str, ...], n: int) -> None:
    inputs = TextSet(samples, train=train)
    among = all_similarities(samples, samples, n)
    np.fill_diagonal(among, -1)
    assert Diversity(n=n).statistics(inputs)[:, 0] == pytest.approx(1 - among.max(axis=1), abs=1e-12)
    to_train = all_similarities(samples, train, n)
    assert Novelty(n=n).statistics(inputs)[:, 0] == pytest.approx(1 - to_train.max(axis=1), abs=1e-12)


@pytest.mark.parametrize("share", [-1.0, 1 / 16, 2.0], ids=["all products", "mixed", "all lists"])
@pytest.mark.parametrize("cells", [1, 1 << 21], ids=["many blocks", "one block"])
def test_blocks_and_both_ways_of_counting_agree(share: float, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaccard, "COMMON_SHARE", share)
    monkeypatch.setattr(jaccard, "BLOCK_CELLS", cells)
    samples, train = random_texts(70, seed=1) + AWKWARD, random_texts(45, seed=2)
    inputs = TextSet(samples, train=train)
    assert Jaccard(1).score(inputs).value == pytest.approx(100 * mean_of_pairs(samples, 1), abs=1e-10)
    expected = 1 - all_similarities(samples, train, 2).max(axis=1)
    assert Novelty(n=2).statistics(inputs)[:, 0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.real_data
def test_real_texts_equal_the_definition() -> None:
    samples = real_texts("yelp/test.txt.gz", 60)
    for n in range(1, 4):
        assert Jaccard(n).score(TextSet(samples)).value == pytest.approx(100 * mean_of_pairs(samples, n), abs=1e-10)


def test_the_jaccard_interval_is_as_wide_as_its_sampling_error() -> None:
    # A mean over pairs errs twice as much as the mean of its per-text means; the wrong interval would give 0.5.
    values, widths = [], []
    for seed in range(150):
        score = Jaccard(1).score(TextSet(random_texts(40, seed)), Bootstrap(samples=100, seed=seed))
        assert score.interval is not None
        values.append(score.value)
        widths.append((score.interval.high - score.interval.low) / (2 * 1.96))
    # Standard error of a standard deviation from 150 draws: 6 %; percentile intervals of 40 texts run a little narrow.
    assert 0.8 < np.mean(widths) / np.std(values, ddof=1) < 1.25


AMONG = [SelfBLEU(), SelfBLEU(n=2), Diversity(), Diversity(n=2)]
AMONG_IDS = ["Self-BLEU", "Self-BLEU-2", "Diversity", "Diversity-2"]


@dataclass(frozen=True)
class Recorder(Bootstrap):
    """Keeps the values of the jackknife."""

    without: list[float] = field(default_factory=list)

    def interval_of_jackknife(self, value: float, without: Array, cluster_size: int = 1) -> Interval:
        self.without[:] = without.tolist()
        return super().interval_of_jackknife(value, without, cluster_size)


@pytest.mark.parametrize("metric", AMONG, ids=AMONG_IDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "texts", [AWKWARD, random_texts(12, 1, 4, 8), random_texts(15, 2)], ids=["odd", "alike", "any"]
)
def test_the_jackknife_leaves_out_each_source(
    metric: AmongGenerationsMetric, size: int, texts: tuple[str, ...]
) -> None:
    """The value without each source, all at once, against the value of the other texts, computed anew."""
    texts = texts[: len(texts) // size * size]
    sources = [texts[i : i + size] for i in range(0, len(texts), size)]
    others = [sum((*sources[:i], *sources[i + 1 :]), ()) for i in range(len(sources))]
    recorder = Recorder(samples=10)
    interval = metric.score(TextSet(texts, per_source=size), recorder).interval
    if len(sources) < 3:
        assert interval is None
        return
    # 1e-9 in %: sums of at most 15 values.
    assert recorder.without == pytest.approx([metric.score(TextSet(rest)).value for rest in others], abs=1e-9)


@pytest.mark.parametrize("metric", [SelfBLEU(), Diversity()], ids=lambda metric: metric.name)
def test_the_interval_among_texts_is_as_wide_as_its_sampling_error(metric: AmongGenerationsMetric) -> None:
    values, widths, fixed = [], [], []
    for seed in range(100):
        inputs, bootstrap = TextSet(random_texts(60, seed, 10, 300)), Bootstrap(samples=200, seed=seed)
        score = metric.score(inputs, bootstrap)
        assert score.interval is not None
        assert score.interval.method == f"jackknife-bootstrap:200:{seed}"
        with_fixed_references = bootstrap.interval(metric.statistics(inputs), metric.aggregate)
        values.append(score.value)
        widths.append((score.interval.high - score.interval.low) / (2 * 1.96))
        fixed.append((with_fixed_references.high - with_fixed_references.low) / (2 * 1.96))
    # Standard error of a standard deviation from 100 draws: 7 %; a jackknife runs a little wide.
    assert 0.85 < np.mean(widths) / np.std(values, ddof=1) < 1.4
    assert np.mean(fixed) < 0.85 * np.mean(widths)


def test_the_interval_of_clusters_says_so() -> None:
    interval = Diversity().score(TextSet(random_texts(12, 0), per_source=3), Bootstrap(50, 7)).interval
    assert interval is not None
    assert interval.method == "jackknife-bootstrap:50:7:clusters-of-3"


def test_equal_texts_have_no_diversity_and_disjoint_texts_have_all() -> None:
    same, different = TextSet(("a b c",) * 3, train=("a b c",)), TextSet(("a b", "c d", "e f"), train=("x",))
    assert [m.score(same).value for m in (Jaccard(1), Diversity(), Novelty())] == [100.0, 0.0, 0.0]
    assert [m.score(different).value for m in (Jaccard(1), Diversity(), Novelty())] == [0.0, 100.0, 100.0]


@pytest.mark.parametrize("metric", [Jaccard(1), Diversity()])
def test_one_text_has_no_pair(metric: Jaccard | Diversity) -> None:
    with pytest.raises(BenchError, match="needs at least 2 generated texts, got 1"):
        metric.score(TextSet(("only",)))


@pytest.mark.parametrize(("hits", "n", "per_source"), [(0, 40, 1), (1, 40, 1), (40, 40, 1), (0, 40, 4), (13, 52, 2)])
def test_the_interval_of_a_share_is_that_of_scipy_with_a_source_as_one_text(hits: int, n: int, per_source: int) -> None:
    """No copy among 40 texts allows a rate of 8.8 %; resamples of them would give [0, 0]."""
    texts = TextSet(("a copy",) * hits + ("other",) * (n - hits), train=("a copy",), per_source=per_source)
    interval = CopyRate().score(texts, Bootstrap()).interval
    sources = n // per_source
    exact = stats.binomtest(hits // per_source, sources).proportion_ci(0.95, "wilson")
    assert interval is not None
    if hits % per_source == 0:
        assert (interval.low, interval.high) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1e-9)
    assert interval.low <= 100 * hits / n <= interval.high
    assert (interval.level, interval.method) == (0.95, f"wilson:{sources}")


def test_surface_metrics() -> None:
    inputs = TextSet(("a  copy", "", "  ", "new text here"), train=("a copy", "another"))
    assert CopyRate().score(inputs).value == 25.0
    assert EmptyRate().score(inputs).value == 50.0
    assert Length().score(inputs).value == 1.25
    assert Length().score(inputs).unit == "count"
    with pytest.raises(BenchError, match="Copy rate: needs the training texts"):
        CopyRate().score(TextSet(("a",)))
    with pytest.raises(BenchError, match="Novelty: needs the training texts"):
        Novelty().score(TextSet(("a",)))

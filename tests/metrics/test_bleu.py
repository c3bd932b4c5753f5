"""BLEU in all its forms against sacrebleu and nltk.

Tolerance 1e-12 relative to 1 (1e-10 in %): both sides multiply a handful of doubles, in another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sacrebleu.metrics import bleu as sacrebleu

from bench.bootstrap import Bootstrap, paired_bootstrap
from bench.errors import BenchError
from bench.metrics.diversity import SelfBLEU, TexygenSelfBLEU
from bench.metrics.overlap import BLEU, AllReferencesBLEU, TexygenBLEU
from bench.metrics.text import TextSet
from bench.metrics.tokens import load_tokenizer
from tests.metrics.text_cases import AWKWARD, random_texts, real_texts, text_lists, texts

METHOD_1 = SmoothingFunction().method1


def nltk_bleu(samples: Sequence[str], references: Sequence[Sequence[str]], n: int, tokenizer: str) -> list[float]:
    tokenize = load_tokenizer(tokenizer)
    tokens = {text: tokenize(text) for text in {*samples, *(r for group in references for r in group)}}
    weights = (1 / n,) * n
    return [
        float(sentence_bleu([tokens[r] for r in group], tokens[sample], weights, METHOD_1))
        for sample, group in zip(samples, references, strict=True)
    ]


def others(texts: Sequence[str]) -> list[Sequence[str]]:
    return [[*texts[:i], *texts[i + 1 :]] for i in range(len(texts))]


def sacrebleu_score(samples: Sequence[str], streams: Sequence[Sequence[str | None]], n: int = 4) -> float:
    return float(sacrebleu.BLEU(max_ngram_order=n, force=True).corpus_score(list(samples), streams).score)


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6), st.integers(1, 5))
def test_pairs_equal_sacrebleu(pairs: list[tuple[str, str]], n: int) -> None:
    samples, references = zip(*pairs, strict=True)
    score = BLEU(n=n).score(TextSet(samples, tuple((r,) for r in references)))
    assert score.value == pytest.approx(sacrebleu_score(samples, [references], n), abs=1e-10)


def test_pairs_with_several_references_equal_sacrebleu() -> None:
    samples = AWKWARD[:3]
    groups = (("", "a cat"), ("the", "the cat"), ("the cat sat .", "on the mat sat the cat ."))
    expected = sacrebleu_score(samples, list(zip(*groups, strict=True)))
    score = BLEU().score(TextSet(samples, groups))
    assert score.value == pytest.approx(expected, abs=1e-10)
    assert score.signature == "BLEU|n:4|refs:2|smooth:exp|tok:13a|v:1"


def test_a_varying_number_of_references_shows_in_the_signature() -> None:
    inputs = TextSet(("a", "b"), (("a",), ("a", "b", "c")))
    assert str(BLEU().signature(inputs)) == "BLEU|n:4|refs:1-3|smooth:exp|tok:13a|v:1"


@settings(deadline=None)
@given(text_lists, text_lists)
def test_all_references_equal_sacrebleu_with_the_corpus_for_every_sample(
    samples: tuple[str, ...], corpus: tuple[str, ...]
) -> None:
    expected = sacrebleu_score(samples, [[reference] * len(samples) for reference in corpus])
    assert AllReferencesBLEU().score(TextSet(samples, corpus=corpus)).value == pytest.approx(expected, abs=1e-10)


@settings(deadline=None)
@given(text_lists, text_lists, st.integers(1, 5), st.sampled_from(["13a", "treebank", "whitespace"]))
def test_sentence_form_equals_nltk(samples: tuple[str, ...], corpus: tuple[str, ...], n: int, tokenizer: str) -> None:
    metric = TexygenBLEU(n=n, tokenizer=tokenizer)
    rows = metric.statistics(TextSet(samples, corpus=corpus))[:, 0]
    assert rows == pytest.approx(nltk_bleu(samples, [corpus] * len(samples), n, tokenizer), abs=1e-12)


@settings(deadline=None)
@given(st.lists(texts, min_size=2, max_size=7).map(tuple), st.integers(1, 5))
def test_self_bleu_equals_nltk(samples: tuple[str, ...], n: int) -> None:
    rows = SelfBLEU(n=n).statistics(TextSet(samples))[:, 0]
    assert rows == pytest.approx(nltk_bleu(samples, others(samples), n, "13a"), abs=1e-12)


def test_self_bleu_equals_nltk_on_awkward_texts() -> None:
    rows = SelfBLEU().statistics(TextSet(AWKWARD))[:, 0]
    assert rows == pytest.approx(nltk_bleu(AWKWARD, others(AWKWARD), 4, "13a"), abs=1e-12)
    assert rows[0] == 0.0
    assert rows[2] == rows[3] == 1.0  # each has its twin


def test_self_bleu_equals_nltk_on_300_texts() -> None:
    samples = random_texts(300, seed=1, mean_length=6)
    score = SelfBLEU().score(TextSet(samples))
    assert score.value == pytest.approx(100 * np.mean(nltk_bleu(samples, others(samples), 4, "13a")), abs=1e-10)
    assert score.signature == "Self-BLEU|n:4|refs:others-299|smooth:method1|tok:13a|v:1"


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["snli/test.txt.gz", "yelp/test.txt.gz"])
def test_real_texts_equal_the_oracles(name: str) -> None:
    lines = real_texts(name, 80)
    samples, corpus = lines[:40], lines[40:]
    inputs = TextSet(samples, tuple((text,) for text in corpus), corpus)
    assert SelfBLEU().statistics(inputs)[:, 0] == pytest.approx(
        nltk_bleu(samples, others(samples), 4, "13a"), abs=1e-12
    )
    assert TexygenBLEU().statistics(inputs)[:, 0] == pytest.approx(
        nltk_bleu(samples, [corpus] * 40, 4, "treebank"), abs=1e-12
    )
    assert BLEU().score(inputs).value == pytest.approx(sacrebleu_score(samples, [corpus]), abs=1e-10)
    assert AllReferencesBLEU().score(inputs).value == pytest.approx(
        sacrebleu_score(samples, [[text] * 40 for text in corpus]), abs=1e-10
    )


def test_texygen_takes_the_first_500_only() -> None:
    samples = random_texts(520, seed=2, mean_length=4)
    whole, first = TextSet(samples, corpus=samples), TextSet(samples[:500], corpus=samples[:500])
    score = TexygenSelfBLEU().score(whole)
    assert score.value == TexygenSelfBLEU(limit=None).score(first).value
    assert score.n == 500
    assert "refs:others-499" in score.signature
    assert np.array_equal(TexygenBLEU().statistics(whole)[:500], TexygenBLEU(limit=None).statistics(first))
    assert "refs:first-500" in TexygenBLEU().score(whole).signature


@given(st.permutations(AWKWARD))
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_texts_does_not_matter(order: list[str]) -> None:
    metric = SelfBLEU()
    expected = metric.score(TextSet(AWKWARD)).value
    assert metric.score(TextSet(tuple(order))).value == pytest.approx(expected, abs=1e-10)


def test_texts_equal_to_their_references_score_100() -> None:
    samples = ("the cat sat on the mat .", "a dog ran across the long road")
    inputs = TextSet(samples, tuple((text,) for text in samples))
    for metric in (BLEU(), AllReferencesBLEU(), TexygenBLEU()):
        assert metric.score(inputs).value == pytest.approx(100.0, abs=1e-10)


def test_the_interval_resamples_the_stored_counts() -> None:
    samples, references = random_texts(60, seed=3), random_texts(60, seed=4)
    inputs = TextSet(samples, tuple((text,) for text in references))
    metric, bootstrap = BLEU(), Bootstrap(samples=20, seed=5)
    rows = metric.statistics(inputs)
    rng = np.random.Generator(np.random.PCG64(5))
    values = []
    for counts in rng.multinomial(60, np.full(60, 1 / 60), size=20):
        drawn = [i for i, count in enumerate(counts) for _ in range(count)]
        values.append(sacrebleu_score([samples[i] for i in drawn], [[references[i] for i in drawn]]))
    score = metric.score(inputs, bootstrap)
    assert score.interval is not None
    expected = np.percentile(values, [2.5, 97.5])
    assert [score.interval.low, score.interval.high] == pytest.approx(expected, abs=1e-9)
    result = paired_bootstrap(metric.aggregate, rows, rows, bootstrap)
    assert (result.difference, result.p_value) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("metric", "inputs", "reason"),
    [
        (SelfBLEU(), TextSet(("only",)), "Self-BLEU: needs at least 2 generated texts, got 1"),
        (BLEU(), TextSet(("a",), corpus=("a",)), "BLEU: needs references in pairs with the generated texts"),
        (AllReferencesBLEU(), TextSet(("a",)), "BLEU-all: needs reference texts"),
        (TexygenBLEU(), TextSet(("a",)), "BLEU-texygen: needs reference texts"),
    ],
)
def test_what_is_missing_is_said(
    metric: SelfBLEU | BLEU | AllReferencesBLEU | TexygenBLEU, inputs: TextSet, reason: str
) -> None:
    with pytest.raises(BenchError) as error:
        metric.score(inputs)
    assert str(error.value) == reason


def test_empty_texts_are_scored_not_dropped() -> None:
    full = TextSet(("a b c d e", "a b c d e"), (("a b c d e",), ("a b c d e",)))
    holed = TextSet(("a b c d e", ""), (("a b c d e",), ("a b c d e",)))
    assert BLEU().score(full).value == pytest.approx(100.0)
    assert BLEU().score(holed).value == pytest.approx(100.0 * math.exp(1 - 10 / 5))
    assert SelfBLEU().score(TextSet(("a b c d", "a b c d", ""))).value == pytest.approx(200.0 / 3)

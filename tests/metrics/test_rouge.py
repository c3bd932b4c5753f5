"""ROUGE against rouge-score; tolerance 1e-12, a few operations on doubles in another order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from bench.metrics.overlap import ROUGE, lcs_length, rouge_tokens
from bench.metrics.text import TextSet
from tests.metrics.text_cases import AWKWARD, real_texts, texts

METRICS: dict[str, int | Literal["L"]] = {"rouge1": 1, "rouge2": 2, "rougeL": "L"}
plain = st.text(alphabet="abAB c.9é日'-", max_size=30)


@cache
def scorer(stem: bool) -> RougeScorer:
    return RougeScorer(list(METRICS), use_stemmer=stem)


def check(samples: Sequence[str], groups: Sequence[tuple[str, ...]], stem: bool = False) -> None:
    expected = [scorer(stem).score_multi(group, sample) for sample, group in zip(samples, groups, strict=True)]
    for key, units in METRICS.items():
        rows = ROUGE(units, stem).statistics(TextSet(tuple(samples), tuple(groups)))[:, 0]
        assert rows == pytest.approx([e[key].fmeasure for e in expected], abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(plain | texts, plain | texts), min_size=1, max_size=4), st.booleans())
def test_pairs_equal_rouge_score(pairs: list[tuple[str, str]], stem: bool) -> None:
    check([sample for sample, _ in pairs], [(reference,) for _, reference in pairs], stem)


def test_awkward_pairs_equal_rouge_score() -> None:
    pairs = [(a, b) for a in AWKWARD for b in AWKWARD]
    check([a for a, _ in pairs], [(b,) for _, b in pairs])


def test_the_best_of_several_references_counts() -> None:
    check(["the cat sat", "a b c"], [("a dog", "the cat", "sat the cat"), ("", "c b a", "a c")])


@pytest.mark.real_data
@pytest.mark.parametrize("stem", [False, True])
def test_real_pairs_equal_rouge_score(stem: bool) -> None:
    lines = real_texts("yahoo/test.txt.gz", 40)
    check(lines[:20], [(text,) for text in lines[20:]], stem)


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_common_subsequence_is_the_longest(first: list[int], second: list[int]) -> None:
    of_second = {c for size in range(len(second) + 1) for c in combinations(second, size)}
    expected = max(size for size in range(len(first) + 1) for c in combinations(first, size) if c in of_second)
    assert lcs_length(first, second) == expected


def test_common_subsequence_of_long_texts() -> None:
    # Longer than one machine word, where a bit-parallel row has to carry.
    first = [i % 7 for i in range(500)]
    second = [i % 5 for i in range(400)]
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first, start=1):
        for j, b in enumerate(second, start=1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    assert lcs_length(first, second) == table[-1][-1]


@given(texts, texts)
def test_f1_is_symmetric(first: str, second: str) -> None:
    for units in METRICS.values():
        one, other = (ROUGE(units).score(TextSet((a,), ((b,),))).value for a, b in ((first, second), (second, first)))
        assert one == other


def test_a_text_equal_to_its_reference_scores_100() -> None:
    for units in METRICS.values():
        assert ROUGE(units).score(TextSet(("A cat sat.",), (("a cat, sat",),))).value == 100.0


def test_the_signature_tells_stemming() -> None:
    assert rouge_tokens("Running dogs ran", stem=True) == ["run", "dog", "ran"]
    assert rouge_tokens("Running dogs ran") == ["running", "dogs", "ran"]
    inputs = TextSet(("a",), (("a",),))
    assert str(ROUGE("L").signature(inputs)) == "ROUGE-L|of:f1|tok:rouge|stem:no|v:1"
    assert str(ROUGE("L", stem=True).signature(inputs)) == "ROUGE-L|of:f1|tok:rouge|stem:yes|v:1"

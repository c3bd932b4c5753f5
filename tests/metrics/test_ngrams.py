"""The n-gram counts and what is taken from them, against counting with dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import bleu as sacrebleu

from bench.errors import BenchError
from bench.metrics.ngrams import (
    closest_lengths,
    closest_other_lengths,
    count_ngrams,
    matches_with_others,
    matches_with_references,
    ngram_totals,
    ngrams_of_order,
)
from bench.metrics.tokens import TOKENIZERS, Tokens, load_tokenizer
from tests.metrics.text_cases import AWKWARD, text_lists

SCORER = sacrebleu.BLEU()
lengths = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def tokenized(texts: tuple[str, ...], vocabulary: dict[str, int] | None = None) -> Tokens:
    return Tokens.intern(texts, str.split, {} if vocabulary is None else vocabulary)


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def clipped(text: str, references: list[str], n: int) -> int:
    return sum(min(c, max((grams(r, n)[g] for r in references), default=0)) for g, c in grams(text, n).items())


@settings(deadline=None)
@given(text_lists)
def test_counts_are_those_of_a_dictionary(texts: tuple[str, ...]) -> None:
    for n, counts in enumerate(count_ngrams(tokenized(texts), 4), start=1):
        expected = [grams(text, n) for text in texts]
        rows = sorted(c for per_text in expected for c in per_text.values())
        assert sorted(counts.count.tolist()) == rows
        assert len(counts.starts) == len(set().union(*expected))
        assert counts.per_text(counts.count).tolist() == [e.total() for e in expected]
        assert counts.gram[counts.starts].tolist() == list(range(len(counts.starts)))


@settings(deadline=None)
@given(text_lists, text_lists)
def test_matches_with_references_are_clipped_counts(samples: tuple[str, ...], references: tuple[str, ...]) -> None:
    vocabulary: dict[str, int] = {}
    matches = matches_with_references(tokenized(samples, vocabulary), tokenized(references, vocabulary), 3)
    assert matches.tolist() == [[clipped(s, list(references), n) for n in (1, 2, 3)] for s in samples]


@settings(deadline=None)
@given(text_lists)
def test_matches_with_others_leave_the_text_itself_out(texts: tuple[str, ...]) -> None:
    matches = matches_with_others(tokenized(texts), 3)
    others = [list(texts[:i] + texts[i + 1 :]) for i in range(len(texts))]
    assert matches.tolist() == [[clipped(t, o, n) for n in (1, 2, 3)] for t, o in zip(texts, others, strict=True)]


@given(lengths, lengths)
def test_closest_lengths_prefer_the_shorter(own: list[int], references: list[int]) -> None:
    found = closest_lengths(np.array(own), np.array(references))
    assert found.tolist() == [min(references, key=lambda r: (abs(r - length), r)) for length in own]


@given(st.lists(st.integers(0, 9), min_size=2, max_size=8))
def test_closest_other_lengths_leave_the_text_itself_out(own: list[int]) -> None:
    expected = [min(own[:i] + own[i + 1 :], key=lambda r: (abs(r - length), r)) for i, length in enumerate(own)]
    assert closest_other_lengths(np.array(own)).tolist() == expected


def test_totals_of_texts_shorter_than_the_order_are_zero() -> None:
    assert ngram_totals(np.array([0, 1, 5]), 4).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [5, 4, 3, 2]]


def test_ngrams_do_not_cross_texts() -> None:
    counts = ngrams_of_order(tokenized(("a b", "c d", "b c")), 2)
    assert len(counts.starts) == 3
    assert counts.text.tolist() == [0, 2, 1]  # by first token: "a b", "b c", then "c d"


def test_keys_of_a_large_vocabulary_do_not_collide() -> None:
    # 5-grams over a vocabulary of 2^20: packed by position they would need 100 bits.
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 1 << 20, size=(200, 5))
    tokens = Tokens(np.concatenate([ids, ids]).ravel(), np.full(400, 5))
    counts = ngrams_of_order(tokens, 5)
    assert len(counts.starts) == 200
    assert counts.per_text(counts.count).tolist() == [1] * 400


def test_an_order_below_one_is_refused() -> None:
    from bench.metrics.diversity import SelfBLEU

    with pytest.raises(BenchError, match="n-gram order 0; allowed: 1 or more"):
        SelfBLEU(n=0)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("text", AWKWARD)
def test_tokens_hold_no_whitespace_and_lose_no_letter(name: str, text: str) -> None:
    tokens = load_tokenizer(name)(text)
    assert all(token and token == "".join(token.split()) for token in tokens)
    assert "".join(tokens) == "".join(text.split())


@settings(deadline=None, max_examples=500)
@given(st.text(alphabet=" .,-0a1é&;$'\"/\n\t\u00a0日", max_size=20) | st.sampled_from(AWKWARD) | st.text(max_size=20))
@example("&quot;A&amp;B&quot; &amp;lt;<skipped>x  ")
@example("end-\nof-<skipped>\n line-\n")
def test_13a_is_what_sacrebleu_scores(text: str) -> None:
    assert load_tokenizer("13a")(text) == SCORER._preprocess_segment(text).split()


def test_an_unknown_tokenizer_names_the_nearest() -> None:
    with pytest.raises(BenchError, match=r"unknown tokenizer '13b'\. Did you mean '13a'\? Allowed: 13a, treebank, w"):
        load_tokenizer("13b")

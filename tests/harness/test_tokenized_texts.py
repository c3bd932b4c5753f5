"""Texts to batches: nothing is lost, the budget is kept, epochs differ, and cut texts are counted as what is kept."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Engine

from bench.batch import Batch, batches_of_similar_length
from bench.errors import BenchError
from bench.harness import tokenized_texts
from bench.harness.tokenized_texts import TokenIds, tokenize
from bench.specs import EncoderSpec, TokenizerSpec
from bench.tasks import Example
from bench.tokenizers import EncoderTokens, Tokenizer, build_encoder_tokenizer, build_tokenizer, load_tokenizer

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=60)
BUDGETS = st.integers(1, 200)
SEEDS = st.none() | st.integers(0, 2**63)
TEXTS = ("a man rides a red bicycle", "two dogs", "the naïve café — ☕ — is open", "a b c d e f g h i j k l m n o p")


def rng(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


@given(LENGTHS, BUDGETS, SEEDS)
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int, seed: int | None) -> None:
    batches = batches_of_similar_length(lengths, budget, rng(seed))
    assert Counter(index for batch in batches for index in batch) == Counter(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


@given(LENGTHS, BUDGETS, SEEDS, SEEDS)
def test_the_number_of_batches_does_not_depend_on_the_order(
    lengths: list[int], budget: int, one: int | None, other: int | None
) -> None:
    sizes = [
        sorted((len(b), sorted(lengths[i] for i in b)) for b in batches_of_similar_length(lengths, budget, rng(seed)))
        for seed in (one, other)
    ]
    assert sizes[0] == sizes[1]


@given(LENGTHS, BUDGETS)
def test_texts_of_a_batch_are_of_similar_length(lengths: list[int], budget: int) -> None:
    """Sorted by their longest text, batches do not overlap in length; a batch ends only where the next text is one
    too many."""
    batches = batches_of_similar_length(lengths, budget)
    assert [lengths[index] for batch in batches for index in batch] == sorted(lengths)
    for batch, after in pairwise(batches):
        assert (len(batch) + 1) * lengths[after[0]] > budget


def test_the_order_differs_with_the_generator_and_repeats_with_its_seed() -> None:
    lengths = [5, 9, 5, 7, 7, 5, 12, 9, 30, 5, 7, 9] * 3
    orders = [batches_of_similar_length(lengths, 40, rng(seed)) for seed in (0, 1, 0)]
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    # Not only the batches change places: texts of equal length meet others.
    assert {frozenset(batch) for batch in orders[0]} != {frozenset(batch) for batch in orders[1]}


@pytest.fixture(scope="module")
def tokenizer(_own_cache: None) -> Tokenizer:
    return build_tokenizer(TokenizerSpec(vocabulary_size=290), TEXTS * 2)


def test_whole_texts_are_counted_whole(tokenizer: Tokenizer) -> None:
    texts = tokenize([Example(text) for text in TEXTS], tokenizer, 200)
    assert sum(texts.cuts.values()) == 0
    assert tokenizer.decode(texts.ids.tolist()) == list(TEXTS)
    assert {(ids[0], ids[-1]) for ids in texts.ids.tolist()} == {(tokenizer.bos, tokenizer.eos)}
    assert texts.words.tolist() == [6, 2, 8, 16]
    assert texts.bytes.tolist() == [25, 8, 36, 31]
    assert texts.predicted.tolist() == [len(ids) - 1 for ids in tokenizer.encode(TEXTS)]


def test_long_texts_are_cut_and_counted_as_what_is_kept(tokenizer: Tokenizer) -> None:
    whole = tokenize([Example(text) for text in TEXTS], tokenizer, 200)
    limit = 8
    texts = tokenize([Example(text) for text in TEXTS], tokenizer, limit)
    assert texts.ids.cut.tolist() == [length > limit for length in whole.lengths]
    assert texts.cuts["texts were cut"] == sum(texts.ids.cut) > 0
    for index, (kept, full) in enumerate(zip(texts.ids.tolist(), whole.ids.tolist(), strict=True)):
        assert kept == full[:limit]
        text = tokenizer.decode([kept])[0]
        assert (texts.words[index], texts.bytes[index]) == (len(text.split()), len(text.encode()))
    assert tokenizer.eos not in texts.ids[0]


def test_a_text_cut_inside_a_character_counts_its_bytes(tokenizer: Tokenizer) -> None:
    """Decoded, the end is U+FFFD, which has three bytes."""
    text = "冬の朝"
    for limit in range(2, 12):
        texts = tokenize([Example(text)], tokenizer, limit)
        assert texts.bytes.tolist() == [min(limit - 1, 9)]


def test_the_first_text_that_the_tokenizer_does_not_give_back_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    engine = Engine.from_file(str(tmp_path / "tokenizer.json"))
    engine.add_tokens([AddedToken("bicycle", lstrip=True)])
    engine.save(str(tmp_path / "tokenizer.json"))
    lossy = load_tokenizer(tmp_path)
    message = "loses characters: 'ides a red  bicycle' becomes 'ides a redbicycle';"
    for examples in ([Example("dogs"), Example("he rides a red  bicycle")], [Example("a", "he rides a red  bicycle")]):
        with pytest.raises(BenchError, match=message):
            tokenize(examples, lossy, 5, 5)


def test_a_batch_holds_the_texts_asked_for(tokenizer: Tokenizer) -> None:
    texts = tokenize([Example(text) for text in TEXTS], tokenizer, 200)
    batch = texts.batch([3, 1])
    assert rows(batch) == tokenizer.encode([TEXTS[3], TEXTS[1]])
    assert len(batch.predicted) == texts.predicted[[3, 1]].sum()


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=12), min_size=1, max_size=8), st.integers(0, 5))
def test_lists_and_arrays_make_the_same_batch(texts: list[list[int]], pad: int) -> None:
    longest = max(map(len, texts))
    padded = torch.tensor([text + [pad] * (longest - len(text)) for text in texts], dtype=torch.long)
    expected = [[True] * len(text) + [False] * (longest - len(text)) for text in texts]
    places = [row * (longest - 1) + at for row, text in enumerate(texts) for at in range(len(text) - 1)]
    for given_as in (texts, [np.array(text, dtype=np.int32) for text in texts]):
        batch = Batch.collate(given_as, pad)
        assert (batch.ids.dtype, batch.mask.dtype, batch.predicted.dtype) == (torch.long, torch.bool, torch.long)
        assert batch.ids.equal(padded)
        assert batch.mask.tolist() == expected
        assert batch.predicted.tolist() == places


def test_texts_lie_one_behind_the_other(tokenizer: Tokenizer) -> None:
    texts = tokenize([Example(text) for text in TEXTS], tokenizer, 200)
    expected = tokenizer.encode(TEXTS)
    assert texts.ids.flat.dtype == np.int32
    assert texts.ids.flat.tolist() == [one for ids in expected for one in ids]
    assert texts.ids.tolist() == expected
    assert [texts.ids[index].tolist() for index in (-1, 0)] == [expected[-1], expected[0]]
    assert texts.lengths.tolist() == [len(ids) for ids in expected]
    with pytest.raises(IndexError):
        texts.ids[len(TEXTS)]


def test_more_texts_than_are_tokenized_at_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenized_texts, "TOKENIZED_AT_ONCE", 3)
    assert TokenIds.of(TEXTS, tokenizer, 200).tolist() == tokenizer.encode(TEXTS)


def rows(batch: Batch | None) -> list[list[int]]:
    assert batch is not None
    return [row[mask].tolist() for row, mask in zip(batch.ids, batch.mask, strict=True)]


@pytest.fixture(scope="module")
def wordpiece(_own_cache: None) -> Tokenizer:
    return build_encoder_tokenizer(EncoderSpec(vocabulary_size=80), TEXTS * 2)


@pytest.fixture
def pairs() -> list[Example]:
    return [Example(text, source) for text, source in zip(TEXTS, reversed(TEXTS), strict=True)]


class TestEncoderOfItsOwn:
    """A system that does not encode with its backbone reads the same texts in other tokens."""

    def test_reads_what_is_beside_it(self, tokenizer: Tokenizer, wordpiece: Tokenizer, pairs: list[Example]) -> None:
        texts = tokenize(pairs, tokenizer.with_encoder(EncoderTokens(wordpiece, 200)), 200, 200)
        batch = texts.batch([3, 1])
        assert batch.encoder is not None
        assert batch.condition is not None
        assert rows(batch.encoder) == wordpiece.encode([TEXTS[3], TEXTS[1]])
        assert rows(batch.condition.encoder) == wordpiece.encode([TEXTS[0], TEXTS[2]])
        assert batch.encoder.ids[1, -1] == wordpiece.pad
        alone = texts.conditions([3, 1])
        assert alone is not None
        assert rows(alone.encoder) == rows(batch.condition.encoder)
        assert rows(batch) == tokenizer.encode([TEXTS[3], TEXTS[1]])
        assert sum(texts.cuts.values()) == 0

    def test_reads_no_more_than_is_predicted(
        self, tokenizer: Tokenizer, wordpiece: Tokenizer, pairs: list[Example]
    ) -> None:
        """What is left of a text that was cut, target and source alike."""
        texts = tokenize(pairs, tokenizer.with_encoder(EncoderTokens(wordpiece, 200)), 8, 6)
        assert texts.ids.encoder is not None
        assert texts.sources is not None
        assert texts.sources.encoder is not None
        assert texts.ids.encoder.tolist() == wordpiece.encode(tokenizer.decode(texts.ids.tolist()))
        assert texts.sources.encoder.tolist() == wordpiece.encode(tokenizer.decode(texts.sources.tolist()))
        assert texts.cuts["texts were cut"] > 0 < texts.cuts["sources were cut"]
        assert texts.cuts["texts were cut for the encoder"] == texts.cuts["sources were cut for the encoder"] == 0

    def test_reads_no_more_than_it_has_positions_for(
        self, tokenizer: Tokenizer, wordpiece: Tokenizer, pairs: list[Example]
    ) -> None:
        whole = wordpiece.encode(TEXTS)
        texts = tokenize(pairs, tokenizer.with_encoder(EncoderTokens(wordpiece, 10)), 200, 200)
        assert texts.ids.encoder is not None
        assert texts.ids.encoder.tolist() == [ids[:10] for ids in whole]
        cut = sum(len(ids) > 10 for ids in whole)
        assert texts.cuts["texts were cut for the encoder"] == texts.cuts["sources were cut for the encoder"] == cut > 0
        assert texts.cuts["texts were cut"] == texts.cuts["sources were cut"] == 0
        assert texts.words.tolist() == [6, 2, 8, 16]

    def test_moves_with_the_batch(self, tokenizer: Tokenizer, wordpiece: Tokenizer, pairs: list[Example]) -> None:
        texts = tokenize(pairs, tokenizer.with_encoder(EncoderTokens(wordpiece, 200)), 200, 200)
        moved = texts.batch([0, 1]).to("meta")
        for part in (moved, moved.encoder, moved.condition, moved.condition and moved.condition.encoder):
            assert part is not None
            assert part.ids.is_meta
            assert part.mask.is_meta

"""Generated texts: as many as asked for, and each the same whatever is decoded beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from bench.harness import generate
from bench.harness.generate import generate_texts
from bench.harness.prepare import prepare
from bench.interface import System
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]


@pytest.mark.parametrize(("label", "task"), [("lm", "snli"), ("della", "snli"), ("softmax", "quora")])
def test_texts_repeat_with_their_seed_whatever_is_decoded_beside_them(
    micro: MakeSpec, monkeypatch: pytest.MonkeyPatch, label: str, task: str
) -> None:
    prepared = prepare(micro(label, task))
    system, texts, decoding = prepared.system(0), prepared.texts["test"], prepared.spec.decoding
    together, other = (generate_texts(system, 5, texts, decoding, seed) for seed in (1, 2))
    assert len(together) == 5
    assert together != other
    monkeypatch.setattr(generate, "GENERATIONS_PER_BATCH", 2)
    assert generate_texts(system, 5, texts, decoding, 1) == together
    assert generate_texts(system, 3, texts, decoding, 1) == together[:3]


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_texts_are_in_the_order_of_their_sources_whatever_the_order_of_decoding(
    micro: MakeSpec, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Sources of mixed length, decoded by length, in the order they stand in, and backwards."""
    prepared = prepare(micro("softmax", "quora", backbone={"kind": kind}))
    system, texts = prepared.system(0).eval(), prepared.texts["test"]
    decoding = prepared.spec.decoding.model_copy(update={"samples_per_source": 2})
    assert texts.sources is not None
    by_length = np.argsort(texts.sources.lengths, kind="stable").tolist()
    rows = list(range(len(texts)))
    assert by_length not in (rows, rows[::-1])

    decoded: list[int] = []
    decode = generate.decode_rows

    def record(system: System, rows: Sequence[int], *others: Any) -> list[list[int]]:
        decoded.extend(rows)
        return decode(system, rows, *others)

    monkeypatch.setattr(generate, "decode_rows", record)
    monkeypatch.setattr(generate, "GENERATIONS_PER_BATCH", 6)
    generated = generate_texts(system, len(texts), texts, decoding, 1)
    assert decoded == by_length
    for order in (rows, rows[::-1]):
        with torch.no_grad():
            alone = {row: decode(system, [row], 2, texts.conditions([row]), decoding, 1) for row in order}
        assert [system.tokenizer.decode(alone[row]) for row in rows] == [
            generated[2 * row : 2 * row + 2] for row in rows
        ]
    assert len(set(generated)) > len(rows)


def test_each_source_has_its_samples_side_by_side(micro: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(micro("embed", "quora"))
    system, texts = prepared.system(0), prepared.texts["test"]
    decoding = prepared.spec.decoding.model_copy(update={"samples_per_source": 3})
    generated = generate_texts(system, 100, texts, decoding, 1)
    assert len(generated) == 3 * len(texts)  # no more sources than there are
    monkeypatch.setattr(generate, "GENERATIONS_PER_BATCH", 4)
    assert generate_texts(system, 2, texts, decoding, 1) == generated[:6]
    assert len(set(generated)) > 30


def test_nothing_is_generated_where_nothing_is_asked_for(micro: MakeSpec) -> None:
    prepared = prepare(micro("lm"))
    assert generate_texts(prepared.system(0), 0, prepared.texts["test"], prepared.spec.decoding, 1) == []

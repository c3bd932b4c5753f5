"""Decoding with a decoder that keeps its own state, against the decoding of transformers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.backbones import Backbone, Injection, decode_stepwise
from bench.errors import BenchError
from bench.specs import DecodingSpec

N = 12
DECODINGS = {
    "greedy": DecodingSpec(strategy="greedy", max_tokens=8),
    "sampling": DecodingSpec(max_tokens=8),
    "top-k": DecodingSpec(max_tokens=8, top_k=5, temperature=0.7),
    "top-p": DecodingSpec(max_tokens=8, top_p=0.8),
    "penalty": DecodingSpec(max_tokens=8, min_tokens=4, repetition_penalty=1.3),
}


def stepwise(gpt2: Backbone, decoding: DecodingSpec, seed: int | list[int], favoured: Tensor) -> list[list[int]]:
    """Decodes with GPT-2 without a cache."""
    read: list[Tensor] = []

    def step(newest: Tensor) -> Tensor:
        read.append(newest)
        return gpt2.model(torch.stack(read, dim=1)).logits[:, -1] + favoured

    return decode_stepwise(step, N, gpt2.tokenizer, decoding, seed, torch.device("cpu"))


@pytest.mark.parametrize("end", [0.0, 3.0], ids=["seldom ending", "often ending"])
@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=list(DECODINGS))
@torch.no_grad()
def test_the_same_logits_and_seeds_give_the_same_texts(
    make_backbone: Callable[..., Backbone], decoding: DecodingSpec, end: float
) -> None:
    gpt2 = make_backbone(dtype=torch.float32)
    favoured = torch.zeros(N, len(gpt2.tokenizer))
    favoured[:, gpt2.tokenizer.eos] = end + torch.arange(N)
    expected = gpt2.generate(N, Injection(logits=favoured), decoding, 7)
    assert stepwise(gpt2, decoding, 7, favoured) == expected
    seeds = list(range(N))
    assert stepwise(gpt2, decoding, seeds, favoured) == gpt2.generate(N, Injection(logits=favoured), decoding, seeds)
    assert any(expected)
    assert len({len(text) for text in expected}) > 1


def test_it_stops_when_all_texts_have_ended(make_backbone: Callable[..., Backbone]) -> None:
    gpt2 = make_backbone(dtype=torch.float32)
    favoured = torch.zeros(N, len(gpt2.tokenizer))
    favoured[:, gpt2.tokenizer.eos] = 1e6
    steps: list[int] = []

    def step(newest: Tensor) -> Tensor:
        steps.append(len(newest))
        return favoured

    decoding = DecodingSpec(max_tokens=8)
    assert decode_stepwise(step, N, gpt2.tokenizer, decoding, 0, torch.device("cpu")) == [[]] * N
    assert steps == [N]


def test_error_for_beam_search(make_backbone: Callable[..., Backbone]) -> None:
    with pytest.raises(BenchError, match="no beam search; allowed are sample and greedy"):
        stepwise(make_backbone(), DecodingSpec(strategy="beam"), 0, torch.zeros(()))

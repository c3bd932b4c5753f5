"""Decoding with a decoder that keeps its own state, against the decoding of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from bench.backbones import Backbone, Injection, build_backbone, decode_stepwise
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import BackboneKind, BackboneSpec, DecodingSpec
from bench.tokenizers import Tokenizer

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


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
@pytest.mark.parametrize("strategy", ["greedy", "sample"])
@torch.no_grad()
def test_the_penalty_is_for_the_text_and_not_for_its_source(
    tokenizer: Tokenizer, kind: BackboneKind, strategy: Literal["greedy", "sample"]
) -> None:
    """The decoder's own logits, one text after the other, give the texts of a padded batch."""
    torch.manual_seed(0)
    backbone = build_backbone(BackboneSpec(kind=kind, width=16, positions=96, dropout=0.0), tokenizer).eval()
    for parameter in backbone.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    sources = tokenizer.encode(["the cat", "a dog runs after the quick brown fox", "who is there ?"])
    rows: list[list[int]] = [[] for _ in sources]

    def step(newest: Tensor) -> Tensor:
        logits = []
        for source, row, token in zip(sources, rows, newest.tolist(), strict=True):
            row.append(token)
            if kind == "decoder-only":
                output = backbone.model(torch.tensor([[*source, *row]]))
            else:
                output = backbone.model(torch.tensor([source]), decoder_input_ids=torch.tensor([row]))
            logits.append(output.logits[0, -1])
        return torch.stack(logits)

    decoding = DecodingSpec(strategy=strategy, max_tokens=12, min_tokens=2, repetition_penalty=3.0)
    texts = backbone.generate(1, Injection(), decoding, 7, Batch.collate(sources, tokenizer.pad))
    assert texts == decode_stepwise(step, len(sources), tokenizer, decoding, 7, torch.device("cpu"))
    without = decoding.model_copy(update={"repetition_penalty": 1.0})
    assert texts != backbone.generate(1, Injection(), without, 7, Batch.collate(sources, tokenizer.pad))


def test_neither_source_nor_its_end_is_penalised(tokenizer: Tokenizer) -> None:
    backbone = build_backbone(BackboneSpec(width=16, positions=96), tokenizer).eval()
    (source,) = tokenizer.encode(["the cat"])
    favoured = torch.full((1, len(tokenizer)), -50.0)
    first, second = source[1:3]
    favoured[0, [first, second, tokenizer.eos]] = torch.tensor([60.0, 50.0, 40.0])
    decoding = DecodingSpec(strategy="greedy", max_tokens=6, repetition_penalty=10.0)
    condition = Batch.collate([source], tokenizer.pad)
    assert backbone.generate(1, Injection(logits=favoured), decoding, 0, condition) == [[first, second]]


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

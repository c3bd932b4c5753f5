"""How tokens are chosen, the same for every decoder: greedily, or by sampling with separate noise for each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.batch import Seeds
from bench.errors import BenchError
from bench.seeds import derive_seed
from bench.specs import DecodingSpec
from bench.tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import LogitsProcessorList


class GumbelNoise:
    """Adds Gumbel noise to the logits of each row, from its own stream: the argmax is then a sample of the softmax."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns the scores (N x vocabulary) with noise, as a ``LogitsProcessor`` of transformers does."""
        size = scores.shape[-1]
        exponential = torch.stack([torch.empty(size).exponential_(generator=stream) for stream in self.streams])
        return scores - exponential.log().to(scores.device, scores.dtype)


def token_processors(
    decoding: DecodingSpec, seed: Seeds, rows: int, prompt_length: int, tokenizer: Tokenizer, device: torch.device
) -> LogitsProcessorList:
    """Returns repetition penalty, shortest length, temperature, top-k, top-p and noise, in this order.

    Greedy search after them is sampling, because the noise is there if the strategy is ``sample``. The first
    ``prompt_length`` tokens of each row, BOS included, are not part of its text and not penalised.
    """
    from transformers import (
        LogitsProcessorList,
        MinNewTokensLengthLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    processors = LogitsProcessorList()
    if decoding.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty, prompt_length))
    if decoding.min_tokens:
        processors.append(
            MinNewTokensLengthLogitsProcessor(prompt_length, decoding.min_tokens, tokenizer.eos, device=device)
        )
    if decoding.strategy == "sample":
        processors.append(TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_k:
            processors.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1:
            processors.append(TopPLogitsWarper(decoding.top_p))
        processors.append(
            GumbelNoise([derive_seed(seed, row) for row in range(rows)] if isinstance(seed, int) else seed)
        )
    return processors


@torch.no_grad()
def decode_stepwise(
    step: Callable[[Tensor], Tensor],
    rows: int,
    tokenizer: Tokenizer,
    decoding: DecodingSpec,
    seed: Seeds,
    device: torch.device,
) -> list[list[int]]:
    """Decodes texts with a decoder that keeps its own state; returns their ids without BOS and EOS.

    Tokens are chosen as in ``Backbone.generate``: the same logits and seeds give the same texts.

    Args:
        step: takes the newest token of every text (N) and returns the logits of the next (N x vocabulary).
        rows: number of texts N.
        tokenizer: tokenizer with the ids of BOS and EOS.
        decoding: strategy and its settings.
        seed: seed of sampling.
        device: device of the decoder.

    Raises:
        BenchError: the strategy is beam search, which would have to reorder the decoder's states.
    """
    if decoding.strategy == "beam":
        raise BenchError("a decoder that keeps its own state has no beam search; allowed are sample and greedy.")
    processors = token_processors(decoding, seed, rows, 1, tokenizer, device)
    ids = torch.full((rows, 1), tokenizer.bos, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    while ids.shape[1] <= decoding.max_tokens and not ended.all():
        newest = processors(ids, step(ids[:, -1])).argmax(-1)
        ids = torch.cat([ids, newest[:, None]], dim=1)
        ended |= newest == tokenizer.eos
    return without_special_tokens(ids[:, 1:], tokenizer)


def without_special_tokens(ids: Tensor, tokenizer: Tokenizer) -> list[list[int]]:
    """Returns each row of generated ids (N x T) up to the first EOS, without padding and BOS."""
    special = {tokenizer.pad, tokenizer.bos}
    texts = (takewhile(lambda token: token != tokenizer.eos, row) for row in ids.tolist())
    return [[token for token in text if token not in special] for text in texts]

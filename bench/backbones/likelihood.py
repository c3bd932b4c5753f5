"""The likelihood of texts from a decoder's hidden states, with scores of tokens only where one is predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.batch import Batch

LOGITS_AT_ONCE = 2**24
"""Scores held at once: 64 MB of float32, a few times over while a loss is made of them, whatever the vocabulary."""


def text_log_likelihood(
    batch: Batch,
    states: Tensor,
    output_layer: Callable[[Tensor], Tensor],
    vocabulary_size: int,
    n: int = 1,
    starts: Tensor | None = None,
    added: Tensor | None = None,
) -> Tensor:
    """Returns the log-likelihood of each text, summed over its predicted tokens, in nats (B x n).

    Args:
        batch: B texts.
        states: hidden states of the decoder, each text n times, its samples side by side (B n x positions x width).
        output_layer: takes hidden states (P x width), returns the scores of all tokens (P x vocabulary).
        vocabulary_size: number of tokens.
        n: samples per text.
        starts: where among the positions each text's BOS stands (B); None for the first.
        added: to all scores of a sample (B n x vocabulary).
    """
    length = batch.inputs.shape[1]
    text, position = batch.predicted // length, batch.predicted % length
    if starts is not None:
        position = starts[text] + position
    rows = (text[:, None] * n + torch.arange(n, device=text.device)).T.flatten()
    hidden = states[rows, position.repeat(n)]
    targets = batch.targets.flatten()[batch.predicted].repeat(n)
    at_once = max(1, LOGITS_AT_ONCE // vocabulary_size)

    def token_log_likelihood(hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        logits = output_layer(hidden) if added is None else output_layer(hidden) + added[rows]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -nn.functional.cross_entropy(logits, targets, reduction="none")

    if len(hidden) <= at_once:
        terms = token_log_likelihood(hidden, rows, targets)
    else:
        # Kept for the backward pass, the scores of all chunks would take the memory that chunks save.
        chunks = zip(hidden.split(at_once), rows.split(at_once), targets.split(at_once), strict=True)
        terms = torch.cat(
            [checkpoint(token_log_likelihood, *c, use_reentrant=False, preserve_rng_state=False) for c in chunks]
        )
    # Summed in double precision: 100 tokens make about 500 nats, where float32 resolves only 3e-5.
    total = torch.zeros(len(batch) * n, dtype=torch.float64, device=hidden.device)
    return total.index_add(0, rows, terms.double()).view(len(batch), n)

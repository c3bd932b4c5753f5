"""The likelihood of texts from a decoder's hidden states; logits are computed only where a token is predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.batch import Batch

LOGITS_AT_ONCE = 2**24
"""Number of logits held at once: 64 MB of float32, and a few times as much while the loss is computed."""


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
        states: hidden states of the decoder; the n samples of a text are adjacent (B n x positions x width).
        output_layer: maps hidden states (P x width) to logits (P x vocabulary).
        vocabulary_size: number of tokens.
        n: samples per text.
        starts: position of each text's BOS (B); None for the first position.
        added: added to all logits of a sample (B n x vocabulary).
    """
    length = batch.inputs.shape[1]
    text, position = batch.predicted // length, batch.predicted % length
    if starts is not None:
        position = starts[text] + position
    rows = (text[:, None] * n + torch.arange(n, device=text.device)).T.flatten()
    hidden = states[rows, position.repeat(n)]
    targets = batch.targets.flatten()[batch.predicted].repeat(n)
    chunk_size = max(1, LOGITS_AT_ONCE // vocabulary_size)

    def token_log_likelihood(hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        logits = output_layer(hidden) if added is None else output_layer(hidden) + added[rows]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -nn.functional.cross_entropy(logits, targets, reduction="none")

    if len(hidden) <= chunk_size:
        terms = token_log_likelihood(hidden, rows, targets)
    else:
        # Without checkpoints the backward pass would need the logits of all chunks at once.
        chunks = zip(hidden.split(chunk_size), rows.split(chunk_size), targets.split(chunk_size), strict=True)
        terms = torch.cat(
            [checkpoint(token_log_likelihood, *c, use_reentrant=False, preserve_rng_state=False) for c in chunks]
        )
    # Summed in double precision: 100 tokens make about 500 nats, where float32 resolves only 3e-5.
    total = torch.zeros(len(batch) * n, dtype=torch.float64, device=hidden.device)
    return total.index_add(0, rows, terms.double()).view(len(batch), n)

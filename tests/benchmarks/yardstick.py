"""The yardstick: the arithmetic that DELLA's authors released, as one trains and scores with it.

Texts in the order of the file, padded to the longest of their batch; scores at every position; the KL averaged over
layers; AdamW parameter by parameter; encoder and decoder run anew for every importance sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tests.released_della import ReleasedDella

Texts = Sequence[Sequence[int]]


def in_file_order(model: ReleasedDella, texts: Texts, batch_size: int, pad: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields ids (B x T) and lengths (B) of a batch of texts after the other, where the model is."""
    device = next(model.parameters()).device
    for start in range(0, len(texts), batch_size):
        rows = [torch.as_tensor(text, dtype=torch.long) for text in texts[start : start + batch_size]]
        ids, lengths = torch.nn.utils.rnn.pad_sequence(rows, True, pad), torch.tensor([len(row) for row in rows])
        yield ids.to(device), lengths.to(device)


def optimizer(model: ReleasedDella) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=5e-5, foreach=False, fused=False)


def terms(model: ReleasedDella, ids: Tensor, lengths: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns log p(x | z), and log q, log p and KL of every layer (layers x B), of one sample of each text."""
    layers = model.encoder.latents(ids, lengths, noise)
    log_likelihood = model.log_likelihood(ids, lengths, [layer.z for layer in layers])
    log_q, log_p, kl = (torch.stack([getattr(layer, name) for layer in layers]) for name in ("log_q", "log_p", "kl"))
    return log_likelihood, log_q, log_p, kl


def noise_for(model: ReleasedDella, n_texts: int) -> Tensor:
    noise = torch.randn(len(model.encoder.h), n_texts, model.encoder.latent_size)
    return noise.to(next(model.parameters()).device)


def train(model: ReleasedDella, steps: torch.optim.Optimizer, texts: Texts, batch_size: int, pad: int) -> None:
    """Takes one step for each batch of the texts."""
    model.train()
    for ids, lengths in in_file_order(model, texts, batch_size, pad):
        log_likelihood, _, _, kl = terms(model, ids, lengths, noise_for(model, len(ids)))
        loss = (kl.mean(0) - log_likelihood).mean()
        loss.backward()
        steps.step()
        steps.zero_grad()
        loss.item()


@torch.no_grad()
def score(model: ReleasedDella, texts: Texts, batch_size: int, n_samples: int, pad: int) -> Tensor:
    """Returns the importance-weighted bound of every text, its log weights tempered by the average over layers."""
    model.eval()
    bounds = []
    for ids, lengths in in_file_order(model, texts, batch_size, pad):
        weights = []
        for _ in range(n_samples):
            log_likelihood, log_q, log_p, _ = terms(model, ids, lengths, noise_for(model, len(ids)))
            weights.append(log_likelihood + (log_p - log_q).mean(0))
        bounds.append(torch.stack(weights).logsumexp(0) - math.log(n_samples))
    return torch.cat(bounds)

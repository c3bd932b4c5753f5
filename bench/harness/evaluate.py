"""Scoring a trained system: one encoder pass per text, all importance samples from it, nothing reduced too early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.harness.aggregate import aggregated_posterior
from bench.harness.data import TokenizedTexts, batches_of_similar_length
from bench.harness.loading import load
from bench.harness.train import Report, precision
from bench.interface import LatentPath, Posterior, System
from bench.metrics.likelihood import ScoredTexts
from bench.score import Array
from bench.seeds import derive_seed
from bench.spec import ScoringSpec, TrainingSpec

VERSION = 1
"""Rises whenever the same system and texts give other terms."""


@torch.no_grad()
def score_texts(
    system: System,
    texts: TokenizedTexts,
    scoring: ScoringSpec,
    training: TrainingSpec,
    latent_seed: int,
    report: Report = lambda phase, fraction: None,
) -> ScoredTexts:
    """Returns all terms of all texts, in the order of ``texts``.

    The noise of a text comes from a stream of its own, so its terms do not depend on the batches.

    Args:
        system: put in evaluation mode.
        texts: N texts.
        scoring: number of importance samples K and the token budget of a decoder pass.
        training: for its precision.
        latent_seed: seed of the posterior samples.
        report: told of progress.
    """
    system.eval()
    device = next(system.parameters()).device
    # Without latent variables all samples are alike: one is scored and stands for K.
    n_samples = scoring.n_importance_samples if system.groups else 1
    batches = batches_of_similar_length(texts.lengths, scoring.batch_tokens)
    order = [index for indices in batches for index in indices]
    columns = defaultdict[str, list[Array]](list)
    posteriors: list[Posterior] = []
    first_samples: list[LatentPath] = []
    for done, (indices, batch) in enumerate(zip(batches, load(texts, batches, device), strict=True)):
        streams = [torch.Generator().manual_seed(derive_seed(latent_seed, "score", index)) for index in indices]
        with precision(training, device):
            posterior = system.encode(batch)
            path = posterior.sample(n_samples, streams)
            padded = len(indices) * int(texts.lengths[indices].max())
            at_once = max(1, scoring.batch_tokens // padded)
            parts = [
                system.log_likelihood(batch, path.narrow(start, start + at_once)) for start in range(0, path.n, at_once)
            ]
        posteriors.append(posterior)
        first_samples.append(path.narrow(0, 1))
        columns["log_likelihood"].append(_array(torch.cat(parts, dim=1)))
        columns["log_ratio"].append(_array((path.log_p.double() - path.log_q.double()).sum(-1)))
        columns["kl"].append(_array(path.kl.double().mean(1)))
        mean = _joined(path.mean, len(indices), path.n)
        columns["mean"].append(mean.mean(axis=1))
        columns["mean_noise"].append(mean.var(axis=1, ddof=min(1, path.n - 1)) / path.n)
        columns["first_mean"].append(mean[:, 0])
        report("score", (done + 1) / len(batches))
    own, aggregated = aggregated_posterior(posteriors, first_samples)
    back = np.argsort(order)
    ordered = {name: np.concatenate(parts)[back] for name, parts in columns.items()}
    repeats = scoring.n_importance_samples // n_samples
    return ScoredTexts(
        groups=system.groups,
        tokenizer=system.backbone.tokenizer.name,
        tokens=texts.predicted,
        words=texts.words,
        bytes=texts.bytes,
        log_likelihood=ordered["log_likelihood"].repeat(repeats, axis=1),
        log_ratio=ordered["log_ratio"].repeat(repeats, axis=1),
        kl=ordered["kl"],
        mean=ordered["mean"],
        mean_noise=ordered["mean_noise"],
        first_mean=ordered["first_mean"],
        log_q=own[back],
        log_q_aggregated=aggregated[back],
        conditional=bool(texts.sources),
        cut=int(texts.ids.cut.sum()),
    )


def _joined(means: Sequence[Tensor], batch: int, n: int) -> Array:
    """Returns the means of all groups side by side (B x n x D)."""
    return np.concatenate([np.zeros((batch, n, 0)), *(_array(mean) for mean in means)], axis=-1)


def _array(tensor: Tensor) -> Array:
    return tensor.double().cpu().numpy()

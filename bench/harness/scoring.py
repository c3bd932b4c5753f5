"""Scoring a trained system: one encoder pass per text, all importance samples from it, nothing reduced too early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.batch import batches_of_similar_length
from bench.bootstrap import Array
from bench.harness.batches import batches_on_device
from bench.harness.phases import OnPhase
from bench.harness.precision import autocast
from bench.harness.tokenized_texts import TokenizedTexts
from bench.interface import LatentPath, Posterior, System
from bench.latents import aggregated_posterior
from bench.metrics.likelihood import ScoredTexts
from bench.seeds import derive_seed
from bench.specs import Precision, ScoringSpec

SAMPLES_AT_ONCE = 32
"""Samples of a text that are drawn together, so that memory does not grow with their number; part of what is drawn."""


class Moments:
    """Mean and variance of samples that come in parts (Chan et al. 1983), each (B x n x D)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Array = np.zeros(())
        self.squares: Array = np.zeros(())

    def add(self, samples: Array) -> None:
        """Takes in more samples."""
        n, mean = samples.shape[1], samples.mean(axis=1)
        apart, total = mean - self.mean, self.n + n
        self.squares = self.squares + ((samples - mean[:, None]) ** 2).sum(axis=1) + apart**2 * (self.n * n / total)
        self.mean, self.n = self.mean + apart * (n / total), total

    @property
    def variance(self) -> Array:
        """Unbiased variance over all samples (B x D), 0 for a single one."""
        return self.squares / max(1, self.n - 1)


@torch.no_grad()
def score_texts(
    system: System,
    texts: TokenizedTexts,
    scoring: ScoringSpec,
    precision: Precision,
    latent_seed: int,
    on_phase: OnPhase = lambda phase, fraction: None,
) -> ScoredTexts:
    """Returns all terms of all texts, in the order of ``texts``.

    The noise of a text comes from a stream of its own, so its terms do not depend on the batches.

    Args:
        system: put in evaluation mode.
        texts: N texts.
        scoring: number of importance samples K and the token budget of a decoder pass.
        precision: of the passes.
        latent_seed: seed of the posterior samples.
        on_phase: told of progress.
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
    for done, (indices, batch) in enumerate(zip(batches, batches_on_device(texts, batches, device), strict=True)):
        streams = [torch.Generator().manual_seed(derive_seed(latent_seed, "score", index)) for index in indices]
        padded = len(indices) * int(texts.lengths[indices].max())
        at_once = max(1, scoring.batch_tokens // padded)
        # Made beforehand: small results left between large ones that go would keep the memory from being used again.
        log_likelihood, log_ratio = np.empty((2, len(indices), n_samples))
        kl, means = Moments(), Moments()
        with autocast(precision, device):
            posterior = system.encode(batch)
            for first in range(0, n_samples, SAMPLES_AT_ONCE):
                path = posterior.sample(min(SAMPLES_AT_ONCE, n_samples - first), streams)
                for start in range(0, path.n, at_once):
                    part = path.narrow(start, start + at_once)
                    into = slice(first + start, first + start + part.n)
                    log_likelihood[:, into] = _array(system.log_likelihood(batch, part))
                log_ratio[:, first : first + path.n] = _array((path.log_p.double() - path.log_q.double()).sum(-1))
                kl.add(_array(path.kl))
                mean = _joined(path.mean, len(indices), path.n)
                means.add(mean)
                if not first:
                    first_samples.append(path.narrow(0, 1))
                    columns["first_mean"].append(mean[:, 0])
        posteriors.append(posterior)
        columns["log_likelihood"].append(log_likelihood)
        columns["log_ratio"].append(log_ratio)
        columns["kl"].append(kl.mean)
        columns["mean"].append(means.mean)
        columns["mean_noise"].append(means.variance / n_samples)
        on_phase("score", (done + 1) / len(batches))
    own, aggregated = aggregated_posterior(posteriors, first_samples)
    back = np.argsort(order)
    ordered = {name: np.concatenate(parts)[back] for name, parts in columns.items()}
    repeats = scoring.n_importance_samples // n_samples
    return ScoredTexts(
        groups=system.groups,
        tokenizer=system.tokenizer.name,
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

"""Scoring a trained system: one encoder pass per text, and unreduced terms of all importance samples."""

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
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.tokenized_texts import TokenizedTexts
from bench.interface import LatentPath, Posterior, System
from bench.latents import log_sum_of_posteriors
from bench.metrics.model import ScoredTexts
from bench.seeds import derive_seed
from bench.specs import Precision, ScoringSpec

SAMPLES_AT_ONCE = 32
"""Samples per draw. It bounds memory; another value draws other samples."""


class RunningMoments:
    """Mean and variance of samples that arrive in parts of shape B x n x D (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean: Array = np.zeros(())
        self.squared_deviations: Array = np.zeros(())

    def add(self, samples: Array) -> None:
        """Adds samples (B x n x D)."""
        n, mean = samples.shape[1], samples.mean(axis=1)
        difference, total = mean - self.mean, self.n + n
        own = ((samples - mean[:, None]) ** 2).sum(axis=1)
        self.squared_deviations = self.squared_deviations + own + difference**2 * (self.n * n / total)
        self.mean, self.n = self.mean + difference * (n / total), total

    @property
    def variance(self) -> Array:
        """Unbiased variance over all samples (B x D); 0 for a single sample."""
        return self.squared_deviations / max(1, self.n - 1)


@torch.no_grad()
def score_texts(
    system: System,
    texts: TokenizedTexts,
    scoring: ScoringSpec,
    precision: Precision,
    latent_seed: int,
    on_phase: OnPhase = lambda phase, fraction: None,
    processes: ProcessGroup = ALONE,
) -> ScoredTexts:
    """Returns the terms of all texts, in the order of ``texts``.

    Each text has its own noise stream, so its terms do not depend on its batch.

    Args:
        system: is set to evaluation mode.
        texts: N texts.
        scoring: number of importance samples K and the token budget of a decoder pass.
        precision: of the passes.
        latent_seed: seed of the posterior samples.
        on_phase: receives the progress.
        processes: that score the texts together; each returns the terms of all texts.
    """
    system.eval()
    device = next(system.parameters()).device
    # Without latent variables all samples are equal, so one is scored for K.
    n_samples = scoring.n_importance_samples if system.groups else 1
    batches = processes.share(batches_of_similar_length(texts.lengths, scoring.batch_tokens))
    order = [index for indices in batches for index in indices]
    columns = defaultdict[str, list[Array]](list)
    posteriors: list[Posterior] = []
    first_samples: list[LatentPath] = []
    for done, (indices, batch) in enumerate(zip(batches, batches_on_device(texts, batches, device), strict=True)):
        streams = [torch.Generator().manual_seed(derive_seed(latent_seed, "score", index)) for index in indices]
        padded = len(indices) * int(texts.lengths[indices].max())
        samples_per_pass = max(1, scoring.batch_tokens // padded)
        # Allocated first: small arrays between large temporary ones would fragment the memory.
        log_likelihood, log_ratio = np.empty((2, len(indices), n_samples))
        kl, means = RunningMoments(), RunningMoments()
        with autocast(precision, device):
            posterior = system.encode(batch)
            for first in range(0, n_samples, SAMPLES_AT_ONCE):
                path = posterior.sample(min(SAMPLES_AT_ONCE, n_samples - first), streams)
                for start in range(0, path.n, samples_per_pass):
                    part = path.narrow(start, start + samples_per_pass)
                    columns_of_part = slice(first + start, first + start + part.n)
                    log_likelihood[:, columns_of_part] = _array(system.log_likelihood(batch, part))
                log_ratio[:, first : first + path.n] = _array((path.log_p.double() - path.log_q.double()).sum(-1))
                kl.add(_array(path.kl))
                mean = _concatenated(path.mean, len(indices), path.n)
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
        columns["log_q"].append(_array(first_samples[-1].log_q.double().sum(-1))[:, 0])
    gathered = processes.gather([path.mapped(Tensor.cpu) for path in first_samples])
    samples = [path.mapped(lambda tensor: tensor.to(device)) for paths in gathered for path in paths]
    log_sums = processes.gather(log_sum_of_posteriors(posteriors, samples))
    shares = processes.gather((order, {name: np.concatenate(parts) for name, parts in columns.items()}))
    original_order = np.argsort([index for indices, _ in shares for index in indices])
    ordered = {
        name: np.concatenate([share[name] for _, share in shares if share])[original_order] for name in shares[0][1]
    }
    log_sum = torch.from_numpy(np.stack(log_sums)).logsumexp(0).numpy()  # numpy's warns of terms that are not finite
    log_q_aggregated = log_sum[original_order] - np.log(len(texts))
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
        log_q=ordered["log_q"],
        log_q_aggregated=log_q_aggregated,
        conditional=bool(texts.sources),
        cut=int(texts.ids.cut.sum()),
    )


def _concatenated(means: Sequence[Tensor], batch: int, n: int) -> Array:
    """Returns the means of all groups in one array (B x n x D)."""
    return np.concatenate([np.zeros((batch, n, 0)), *(_array(mean) for mean in means)], axis=-1)


def _array(tensor: Tensor) -> Array:
    return tensor.double().cpu().numpy()

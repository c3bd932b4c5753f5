"""The aggregated posterior q(z), the average of q(z | x) over all texts: what mutual information is measured by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bench.interface import LatentPath, Posterior
from bench.score import Array


def aggregated_posterior(posteriors: Sequence[Posterior], samples: Sequence[LatentPath]) -> tuple[Array, Array]:
    """Scores one sample of every text's posterior, and under the average of all; all groups summed.

    Args:
        posteriors: of batches of texts.
        samples: one per text, batch by batch.

    Returns:
        log q(z | x), and log of the average over all texts x' of q(z | x'), in nats, in the order of the batches.
    """
    own: list[Array] = []
    aggregated: list[Array] = []
    n_texts = sum(len(path.log_q) for path in samples)
    for path in samples:
        under_all = [posterior.log_prob(path.shared()).double().sum(-1).logsumexp(0) for posterior in posteriors]
        own.append(path.log_q.double().sum(-1)[:, 0].cpu().numpy())
        aggregated.append(torch.stack(under_all).logsumexp(0).cpu().numpy() - np.log(n_texts))
    return np.concatenate(own), np.concatenate(aggregated)

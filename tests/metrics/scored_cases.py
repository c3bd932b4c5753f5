"""Scored texts made of random numbers, for the tests of the likelihood and latent metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.bootstrap import Array
from bench.metrics.model import ScoredTexts


def random_scored(
    seed: int = 0, n: int = 7, k: int = 5, groups: tuple[int, ...] = (2, 3), known: bool = True
) -> ScoredTexts:
    rng = np.random.default_rng(seed)
    columns = 2 + len(groups) * (len(groups) > 1)
    tokens = rng.integers(2, 40, n).astype(float)
    return ScoredTexts(
        groups=groups,
        tokenizer="bpe300@abcdef",
        tokens=tokens,
        words=np.ceil(tokens / 2),
        bytes=tokens * 4,
        log_likelihood=-tokens[:, None] * 3 + rng.normal(size=(n, k)),
        log_ratio=rng.normal(-2.0, 1.0, (n, k)) * bool(groups),
        kl=rng.gamma(2.0, 1.0, (n, len(groups))),
        mean=(mean := rng.normal(size=(n, sum(groups))) * np.geomspace(0.03, 1.0, sum(groups))),
        mean_noise=rng.gamma(1.0, 0.01, (n, sum(groups))),
        log_q=rng.normal(size=n),
        log_q_aggregated=rng.normal(-2.0, 1.0, n),
        first_mean=mean + 0.3 * rng.normal(size=mean.shape),
        true_log_p=-tokens * 2.5 if known else None,
        probe_hits={name: rng.integers(0, 2, (n, columns)).astype(float) for name in ("topic", "tone") if known},
    )


def take(scored: ScoredTexts, index: Array) -> ScoredTexts:
    """The texts at ``index``, with repetitions."""
    arrays = {name: value[index] for name, value in vars(scored).items() if isinstance(value, np.ndarray)}
    return replace(scored, **arrays, probe_hits={name: hits[index] for name, hits in scored.probe_hits.items()})


def variances(scored: ScoredTexts, group: int | None = None) -> Array:
    """The variance over texts of every dimension's mean, or of those of one group, sampling noise removed."""
    all_groups = scored.mean.var(axis=0, ddof=1) - scored.mean_noise.mean(axis=0)
    return all_groups if group is None else np.split(all_groups, np.cumsum(scored.groups)[:-1])[group - 1]

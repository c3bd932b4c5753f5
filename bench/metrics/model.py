"""The metrics of a model: all that follows from one pass of scoring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.metric import Metric
from bench.metrics.della_2022 import ReleasedActiveUnits, ReleasedELBO, ReleasedKL, ReleasedPerplexity
from bench.metrics.entropy import Entropy, EntropyPerplexity, Excess, PerplexityRatio
from bench.metrics.latent import ActiveUnits, MutualInformation
from bench.metrics.likelihood import (
    ELBO,
    KL,
    BitsPerByte,
    EffectiveSampleSize,
    Perplexity,
    Reconstruction,
    ScoredTexts,
    WordPerplexity,
)
from bench.metrics.probe import MajorityRate, Probe


def model_metrics(groups: Sequence[int], factors: Iterable[str] = ()) -> tuple[Metric[ScoredTexts], ...]:
    """Returns every metric that scored texts allow.

    Args:
        groups: sizes of the latent groups; where there are several, each is measured alone too.
        factors: true latent factors of the texts; each is probed alone too.
    """
    factors = tuple(factors)
    numbers = range(1, len(groups) + 1) if len(groups) > 1 else ()
    return (
        Perplexity(),
        EntropyPerplexity(),
        PerplexityRatio(),
        WordPerplexity(),
        BitsPerByte(),
        ELBO(),
        Entropy(),
        Excess(),
        Reconstruction(),
        KL(),
        MutualInformation(),
        *(ActiveUnits(delta) for delta in (0.01, 0.1, 0.2)),
        EffectiveSampleSize(),
        ReleasedPerplexity(),
        ReleasedELBO(),
        ReleasedKL(),
        ReleasedActiveUnits(),
        Probe(),
        MajorityRate(),
        *(KL(group) for group in numbers),
        *(ActiveUnits(group=group) for group in numbers),
        *(Probe(group=group) for group in numbers),
        *(Probe(factor, group) for factor in factors for group in (None, *numbers)),
        *(MajorityRate(factor) for factor in factors),
    )

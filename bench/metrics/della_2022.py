"""Protocol ``della-2022``: the arithmetic of the code that Hu et al. (2022) released, for any system.

It averages KL and log importance weights over the G latent groups where the paper's equations sum them, counts BOS
among the predicted tokens, draws 30 samples, and takes the variance of means that hang on one draw of their ancestors.
With several groups its ELBO bounds nothing and its weights p(x | z) (p(z) / q(z | x))^(1/G) estimate nothing: these
numbers stand beside printed ones, never in a column with exact ones. How it computed MI was not released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.bootstrap import Array, Bootstrap
from bench.metric import Score, Signature, signature
from bench.metrics.latent import OfLatentVariance, count_active
from bench.metrics.likelihood import (
    LatentLikelihoodMetric,
    LikelihoodMetric,
    Perplexity,
    ScoredTexts,
    log_mean_exp,
)

PROTOCOL = "della-2022"
N_SAMPLES = 30
DELTA = 0.2


def kl_per_group(inputs: ScoredTexts) -> Array:
    """Returns the KL averaged over groups (N); zero without latent variables."""
    return inputs.kl.sum(axis=1) / max(1, len(inputs.groups))


class ReleasedKL(LatentLikelihoodMetric):
    """KL averaged over latent groups, nats per text."""

    name = f"KL@{PROTOCOL}"
    direction = None

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the reduction over groups."""
        return signature(self.name, self.version, est="analytic", K=inputs.n_samples, mean="groups", n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: the KL averaged over groups."""
        return kl_per_group(inputs)[:, None]


class ReleasedELBO(LikelihoodMetric):
    """Rec + KL averaged over latent groups, nats per text."""

    name = f"ELBO@{PROTOCOL}"

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the reduction over groups."""
        fields = {"K": inputs.n_samples, "mean": "groups", "tok": inputs.tokenizer}
        return signature(self.name, self.version, **fields, n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: reconstruction term and averaged KL."""
        return (inputs.rec + kl_per_group(inputs))[:, None]


class ReleasedPerplexity(Perplexity):
    """Perplexity from 30 importance weights, their log ratios averaged over latent groups, with BOS counted."""

    name = f"PPL@{PROTOCOL}"
    denominator = "tokens+bos+eos"

    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        """States the number of samples, 30 or all there are, and the reduction over groups."""
        return {"est": "iw", "K": min(N_SAMPLES, inputs.n_samples), "mean": "groups"}

    def log_p(self, inputs: ScoredTexts) -> Array:
        """Returns what takes the place of log p(x) (N)."""
        tempered = inputs.log_likelihood + inputs.log_ratio / max(1, len(inputs.groups))
        return log_mean_exp(tempered[:, :N_SAMPLES])

    def count(self, inputs: ScoredTexts) -> Array:
        """Returns the predicted tokens and BOS."""
        return inputs.tokens + 1.0


class ReleasedActiveUnits(OfLatentVariance):
    """Dimensions per latent group whose mean varies over texts by more than 0.2, the noise of its ancestors included.

    The paper prints this average over layers, the released code its share of the dimensions of a layer. The code takes
    the centre of the variance from another pass of encoding, which moves it by 1/N of the noise; here it is the same.
    """

    name = f"AU@{PROTOCOL}"

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States threshold, statistic and reduction over groups."""
        fields = {"delta": DELTA, "stat": "var-of-means", "noise": "kept", "mean": "groups", "of": inputs.varied}
        return signature(self.name, self.version, **fields, n=len(inputs))

    def score(self, inputs: ScoredTexts, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the number of active units per group and, with ``bootstrap``, its interval over texts."""
        value, interval = count_active(inputs.first_mean, np.zeros_like(inputs.first_mean), DELTA, bootstrap)
        groups = len(inputs.groups)
        if interval is not None:
            interval = replace(interval, low=interval.low / groups, high=interval.high / groups)
        return self._score(inputs, value / groups, len(inputs), interval)

"""What Hu et al. (2022) and their released code did, for any system: decodings, and the scores ``@della-2022``.

The released code averages KL and log importance weights over the G latent groups where the paper's equations sum them,
counts BOS among the predicted tokens, draws 30 samples, and takes the variance of means that depend on one sample of
their ancestors. With several groups its ELBO is not a bound and its weights p(x | z) (p(z) / q(z | x))^(1/G) estimate
nothing: these numbers stand beside printed ones, never in a column with exact ones. Its code for MI is not released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array, Bootstrap
from bench.metric import Score
from bench.metrics.latent import LatentVarianceMetric, count_active_units
from bench.metrics.likelihood import LatentMetric, LikelihoodMetric, Perplexity, log_mean_exp
from bench.metrics.model import ScoredTexts

DECODINGS = dict.fromkeys(("della", "della-2022", "della-ltp", "della-lw"), "beam:beams=10")
PROTOCOL = "della-2022"
N_SAMPLES = 30
DELTA = 0.2


def paper_decoding(system: str) -> str:
    """Returns how the paper decodes the texts of a system (appendix A.1): DELLA by beam search, others by sampling."""
    return DECODINGS.get(system, "sample:top_k=50")


def mean_kl(inputs: ScoredTexts) -> Array:
    """Returns the KL averaged over groups (N); zero without latent variables."""
    return inputs.kl.sum(axis=1) / max(1, len(inputs.groups))


class ReleasedKL(LatentMetric):
    """KL averaged over latent groups, nats per text."""

    name = f"KL@{PROTOCOL}"
    direction = None
    absolute_tolerance = 0.01

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"est": "analytic", "K": inputs.n_samples, "mean": "groups", "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return mean_kl(inputs)[:, None]


class ReleasedELBO(LikelihoodMetric):
    """Rec + KL averaged over latent groups, nats per text."""

    name = f"ELBO@{PROTOCOL}"

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"K": inputs.n_samples, "mean": "groups", "tok": inputs.tokenizer, "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return (inputs.reconstruction + mean_kl(inputs))[:, None]


class ReleasedPerplexity(Perplexity):
    """Perplexity from 30 importance weights, their log ratios averaged over latent groups, with BOS counted."""

    name = f"PPL@{PROTOCOL}"
    denominator = "tokens+bos+eos"

    @override
    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"est": "iw", "K": min(N_SAMPLES, inputs.n_samples), "mean": "groups"}

    @override
    def log_p(self, inputs: ScoredTexts) -> Array:
        """Returns the released code's value in place of log p(x) (N)."""
        tempered = inputs.log_likelihood + inputs.log_ratio / max(1, len(inputs.groups))
        return log_mean_exp(tempered[:, :N_SAMPLES])

    @override
    def count(self, inputs: ScoredTexts) -> Array:
        return inputs.tokens + 1.0


class ReleasedActiveUnits(LatentVarianceMetric):
    """Dimensions per latent group whose mean varies over texts by more than 0.2, the noise of its ancestors included.

    The paper prints this average over layers, the released code its share of the dimensions of a layer. The code takes
    the centre of the variance from another pass of encoding, which moves it by 1/N of the noise; here it is the same.
    """

    name = f"AU@{PROTOCOL}"

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        statistic = {"delta": DELTA, "stat": "var-of-means", "noise": "kept", "mean": "groups"}
        return {**statistic, "of": inputs.variation, "n": len(inputs)}

    @override
    def score(self, inputs: ScoredTexts, bootstrap: Bootstrap | None = None) -> Score:
        self.require(inputs)
        value, interval = count_active_units(inputs.first_mean, np.zeros_like(inputs.first_mean), DELTA, bootstrap)
        groups = len(inputs.groups)
        if interval is not None:
            interval = replace(interval, low=interval.low / groups, high=interval.high / groups)
        return self._score(inputs, value / groups, len(inputs), interval)

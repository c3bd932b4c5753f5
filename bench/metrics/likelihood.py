"""Likelihood metrics of a model: reconstruction, KL, ELBO, and log p(x) from importance weights.

Shapes and units are those of `bench.metrics.model.ScoredTexts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array
from bench.metric import Direction, PerTextMetric
from bench.metrics.model import ModelMetric, ScoredTexts


def log_mean_exp(values: Array) -> Array:
    """Returns log of the mean of exp over the last axis, without overflow."""
    top = values.max(axis=-1)
    shifted: Array = np.log(np.exp(values - top[..., None]).mean(axis=-1))
    return top + shifted


def importance_bound(scored: ScoredTexts, k: int | None = None) -> Array:
    """Returns the importance-weighted bound log p_k(x) (N) from each text's first k samples (Burda et al. 2016)."""
    return log_mean_exp(scored.log_weights[:, :k])


class LikelihoodMetric(PerTextMetric[ScoredTexts], ModelMetric):
    """A per-text metric of a model, in nats unless it says otherwise."""

    unit: ClassVar[str] = "nats"
    direction: ClassVar[Direction | None] = "down"


class LatentMetric(LikelihoodMetric):
    """A likelihood metric that only a system with latent variables has."""

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        return super().supports(inputs) if inputs.groups else "no latent variable"


class Reconstruction(LikelihoodMetric):
    """Rec = -E_q(z|x) log p(x | z), nats per text."""

    name = "Rec"

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"est": "mc", "K": inputs.n_samples, "tok": inputs.tokenizer, "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return inputs.reconstruction[:, None]


@dataclass(frozen=True)
class KL(LatentMetric):
    """KL(q(z | x) || p(z)), nats per text: the SUM over groups (Eq. 6 of DELLA), each analytic given its ancestors.

    Attributes:
        group: number of the only group taken, from 1, or None for the sum of all.
    """

    direction = None
    absolute_tolerance = 0.01

    group: int | None = None

    @property
    @override
    def name(self) -> str:
        return "KL" if self.group is None else f"KL[{self.group}]"

    @override
    def variants(self, groups: Sequence[int], factors: Sequence[str]) -> Iterable[ModelMetric]:
        return map(KL, groups)

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        reduction = "groups" if self.group is None else None
        return {"est": "analytic", "K": inputs.n_samples, "sum": reduction, "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        if self.group is not None:
            return inputs.kl[:, [self.group - 1]]
        return inputs.kl.sum(axis=1, keepdims=True)


class ELBO(LikelihoodMetric):
    """Rec + KL, nats per text: the negative evidence lower bound, as the papers' tables print it."""

    name = "ELBO"

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"K": inputs.n_samples, "sum": "groups", "tok": inputs.tokenizer, "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return (inputs.reconstruction + inputs.kl.sum(axis=1))[:, None]


class Perplexity(LikelihoodMetric):
    """exp of -log p_K(x) per predicted token, from the importance-weighted bound with all groups summed.

    For a system without latent variables every weight is p(x) itself and the bound is exact for any K.
    """

    name = "PPL"
    unit = "1"
    denominator: ClassVar[str] = "tokens+eos"

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        shared = {"den": self.denominator, "tok": inputs.tokenizer, "n": len(inputs)}
        return {**self.estimator(inputs), **shared}

    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        """Returns the fields of the signature that describe the estimate of log p(x)."""
        return {"est": "iw", "K": inputs.n_samples, "sum": "groups"}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return np.stack([-self.log_p(inputs), self.count(inputs)], axis=1)

    def log_p(self, inputs: ScoredTexts) -> Array:
        """Returns the log p(x) of each text (N)."""
        return importance_bound(inputs)

    def count(self, inputs: ScoredTexts) -> Array:
        """Returns the denominator of each text (N)."""
        return inputs.tokens

    @override
    def aggregate(self, means: Array, n: int) -> Array:
        value: Array = np.exp(means[..., 0] / means[..., 1])
        return value


class WordPerplexity(Perplexity):
    """Perplexity per whitespace-separated word, one more for the end of text: comparable between tokenizers."""

    name = "PPL word"
    denominator = "words+eos"

    @override
    def count(self, inputs: ScoredTexts) -> Array:
        return inputs.words + 1.0


class BitsPerByte(Perplexity):
    """-log2 p_K(x) per UTF-8 byte: comparable between tokenizers and vocabularies."""

    name = "BPB"
    unit = "bits"
    denominator = "bytes"

    @override
    def count(self, inputs: ScoredTexts) -> Array:
        return inputs.bytes

    @override
    def aggregate(self, means: Array, n: int) -> Array:
        return means[..., 0] / means[..., 1] / np.log(2.0)


class EffectiveSampleSize(LatentMetric):
    """(sum w)² / sum w² of the K importance weights, in samples: near 1 the bound hangs on one sample, K is perfect."""

    name = "ESS"
    unit = "samples"
    direction = "up"
    tolerance = 0.2

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"K": inputs.n_samples, "sum": "groups", "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        weights = np.exp(inputs.log_weights - inputs.log_weights.max(axis=1, keepdims=True))
        return (weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1))[:, None]

"""Likelihood metrics: what scoring a set of texts under a latent-variable model says about p(x).

N texts, K samples of the posterior each, G latent groups, D latent dimensions in all. Everything is in nats of natural
logarithms and counts the predicted tokens: EOS yes, BOS no.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from bench.bootstrap import Array
from bench.metric import Direction, PerTextMetric, Signature, signature


@dataclass(frozen=True)
class ScoredTexts:
    """What one pass of scoring leaves: all terms unreduced, enough for every likelihood and latent metric.

    Attributes:
        groups: sizes of the latent groups.
        tokenizer: name of the tokenizer with its digest.
        tokens: predicted tokens of each text (N).
        words: whitespace-separated words (N).
        bytes: UTF-8 bytes (N).
        log_likelihood: log p(x | z_k) (N x K).
        log_ratio: log p(z_k) - log q(z_k | x), summed over groups (N x K).
        kl: analytic KL of each group, averaged over the samples of its ancestors (N x G).
        mean: posterior means, averaged over the samples of their ancestors (N x D).
        mean_noise: squared standard error of ``mean``: variance over samples / K (N x D).
        first_mean: posterior means given the first sample of their ancestors (N x D).
        log_q: log q(z_1 | x) of each text's first sample (N).
        log_q_aggregated: log of the average of q(z_1 | x') over all N texts x' (N).
        conditional: whether x is generated from a source c, and c is behind the bar of every density.
        cut: number of texts that were too long and lost their end.
        known_log_p: exact log p(x) of the whole texts under the true distribution, or None for real text (N).
        guessed: by true latent factor, what ``bench.metrics.probe.probe`` returns; empty for real text.
    """

    groups: tuple[int, ...]
    tokenizer: str
    tokens: Array
    words: Array
    bytes: Array
    log_likelihood: Array
    log_ratio: Array
    kl: Array
    mean: Array
    mean_noise: Array
    first_mean: Array
    log_q: Array
    log_q_aggregated: Array
    conditional: bool = False
    cut: int = 0
    known_log_p: Array | None = None
    guessed: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_samples(self) -> int:
        """K."""
        return self.log_likelihood.shape[1]

    @property
    def varied(self) -> str | None:
        """What differs between the scored texts besides themselves, for signatures of metrics that compare them."""
        return "text+source" if self.conditional else None

    @property
    def rec(self) -> Array:
        """Reconstruction term -E_q log p(x | z) of each text (N)."""
        return -self.log_likelihood.mean(axis=1)

    @property
    def log_weights(self) -> Array:
        """Log importance weights log p(x, z_k) - log q(z_k | x) (N x K)."""
        return self.log_likelihood + self.log_ratio


def log_mean_exp(values: Array) -> Array:
    """Returns log of the mean of exp over the last axis, without overflow."""
    top = values.max(axis=-1)
    shifted: Array = np.log(np.exp(values - top[..., None]).mean(axis=-1))
    return top + shifted


def importance_bound(scored: ScoredTexts, k: int | None = None) -> Array:
    """Returns the importance-weighted bound log p_k(x) (N) from each text's first k samples (Burda et al. 2016)."""
    return log_mean_exp(scored.log_weights[:, :k])


class LikelihoodMetric(PerTextMetric[ScoredTexts]):
    """A metric over scored texts; most are means of one column."""

    unit: ClassVar[str] = "nats"
    direction: ClassVar[Direction | None] = "down"
    version = 1

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns the mean of the only column."""
        return means[..., 0]


class LatentLikelihoodMetric(LikelihoodMetric):
    """A term that only a system with latent variables has."""

    def supports(self, inputs: ScoredTexts) -> str | None:
        """Needs at least one latent group."""
        return None if inputs.groups else "no latent variable"


class Reconstruction(LikelihoodMetric):
    """Rec = -E_q(z|x) log p(x | z), nats per text."""

    name = "Rec"

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the samples averaged over."""
        return signature(self.name, self.version, est="mc", K=inputs.n_samples, tok=inputs.tokenizer, n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: the reconstruction term."""
        return inputs.rec[:, None]


@dataclass(frozen=True)
class KL(LatentLikelihoodMetric):
    """KL(q(z | x) || p(z)), nats per text: the SUM over groups (Eq. 6 of DELLA), each analytic given its ancestors.

    Attributes:
        group: number of the only group taken, from 1, or None for the sum of all.
    """

    direction = None

    group: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "KL" if self.group is None else f"KL[{self.group}]")

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the reduction over groups."""
        reduction = "groups" if self.group is None else None
        return signature(self.name, self.version, est="analytic", K=inputs.n_samples, sum=reduction, n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: the KL of the group, or summed over groups."""
        if self.group is not None:
            return inputs.kl[:, [self.group - 1]]
        return inputs.kl.sum(axis=1, keepdims=True)


class ELBO(LikelihoodMetric):
    """Rec + KL, nats per text: the negative evidence lower bound, as the papers' tables print it."""

    name = "ELBO"

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the reduction over groups."""
        return signature(self.name, self.version, K=inputs.n_samples, sum="groups", tok=inputs.tokenizer, n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: the negative bound."""
        return (inputs.rec + inputs.kl.sum(axis=1))[:, None]


class Perplexity(LikelihoodMetric):
    """exp of -log p_K(x) per predicted token, from the importance-weighted bound with all groups summed.

    For a system without latent variables every weight is p(x) itself and the bound is exact for any K.
    """

    name = "PPL"
    unit = "1"
    denominator: ClassVar[str] = "tokens+eos"

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States estimator, samples, reduction over groups and denominator."""
        estimator = self.estimator(inputs)
        return signature(
            self.name, self.version, **estimator, den=self.denominator, tok=inputs.tokenizer, n=len(inputs)
        )

    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        """Returns the fields of the signature that say where log p(x) comes from."""
        return {"est": "iw", "K": inputs.n_samples, "sum": "groups"}

    def statistics(self, inputs: ScoredTexts) -> Array:
        """Two columns: -log p(x) and the denominator."""
        return np.stack([-self.log_p(inputs), self.count(inputs)], axis=1)

    def log_p(self, inputs: ScoredTexts) -> Array:
        """Returns the log p(x) that the perplexity is of (N)."""
        return importance_bound(inputs)

    def count(self, inputs: ScoredTexts) -> Array:
        """Returns the denominator of each text (N)."""
        return inputs.tokens

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns exp of the ratio of means."""
        value: Array = np.exp(means[..., 0] / means[..., 1])
        return value


class WordPerplexity(Perplexity):
    """Perplexity per whitespace-separated word, one more for the end of text: comparable between tokenizers."""

    name = "PPL word"
    denominator = "words+eos"

    def count(self, inputs: ScoredTexts) -> Array:
        """Returns words and end of text."""
        return inputs.words + 1.0


class BitsPerByte(Perplexity):
    """-log2 p_K(x) per UTF-8 byte: comparable between tokenizers and vocabularies."""

    name = "BPB"
    unit = "bits"
    denominator = "bytes"

    def count(self, inputs: ScoredTexts) -> Array:
        """Returns bytes."""
        return inputs.bytes

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns bits per byte."""
        return means[..., 0] / means[..., 1] / np.log(2.0)


class EffectiveSampleSize(LatentLikelihoodMetric):
    """(sum w)² / sum w² of the K importance weights, in samples: near 1 the bound hangs on one sample, K is perfect."""

    name = "ESS"
    unit = "samples"
    direction = "up"
    tolerance = 0.2

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the number of samples."""
        return signature(self.name, self.version, K=inputs.n_samples, sum="groups", n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: the effective sample size."""
        weights = np.exp(inputs.log_weights - inputs.log_weights.max(axis=1, keepdims=True))
        return (weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1))[:, None]

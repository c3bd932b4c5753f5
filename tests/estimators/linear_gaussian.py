"""A text VAE with closed forms for everything that the suite estimates, scored through the harness as any system.

A text is T numbers, spelled out; its latent variables are G groups, D dimensions in all, that depend on each other and
on the numbers linearly, with Gaussian noise (see ``LinearGaussian``). So log p(x), the ELBO, KL, mutual information and
the variance of posterior means are closed forms, for the exact posterior as for any wrong one of the same family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers
from torch import Tensor, nn

from bench.batch import Batch, Generators, Seeds
from bench.bootstrap import Array
from bench.errors import BenchError
from bench.interface import LatentPath, Posterior, System
from bench.latents import LOG_2PI, Gaussian, draw_noise, path_from_groups
from bench.specs import DecodingSpec, SystemConfig
from bench.tokenizers import Tokenizer


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The joint distribution of numbers x and latent variables z, and an approximate posterior q.

    With e standard normal, A and B strictly lower triangular::

        p(z)      z = A z + sqrt(s) e
        p(x | z)  x = W z + sqrt(r) e
        q(z | x)  z = B z + C x + b + sqrt(v) e

    A and B link dimensions of different groups only, so that each group is a diagonal Gaussian given its ancestors.

    Attributes:
        groups: sizes of the latent groups.
        prior_weights: A (D x D).
        prior_variance: s (D).
        loadings: W (T x D).
        noise: r, the variance of a number given z.
        weights: B (D x D).
        slopes: C (D x T).
        offset: b (D).
        variance: v (D).
    """

    groups: tuple[int, ...]
    prior_weights: Array
    prior_variance: Array
    loadings: Array
    noise: float
    weights: Array
    slopes: Array
    offset: Array
    variance: Array

    @classmethod
    def with_exact_posterior(
        cls, groups: tuple[int, ...], prior_weights: Array, prior_variance: Array, loadings: Array, noise: float
    ) -> LinearGaussian:
        """Returns the model whose q(z | x) is p(z | x).

        Raises:
            BenchError: given x, dimensions of one group depend on each other, which a diagonal q cannot express.
        """
        size = len(prior_variance)
        rest = np.eye(size) - prior_weights
        precision = rest.T @ (rest / prior_variance[:, None]) + loadings.T @ loadings / noise
        # R'R with R lower triangular; Cholesky's factor is for the product the other way round.
        root = np.linalg.cholesky(precision[::-1, ::-1]).T[::-1, ::-1]
        weights = np.eye(size) - root / np.diag(root)[:, None]
        group = np.repeat(np.arange(len(groups)), groups)
        if np.abs(weights[group[:, None] == group]).max() > 1e-9:
            raise BenchError("linear-Gaussian model: dimensions of a group depend on each other given x.")
        slopes = (np.eye(size) - weights) @ np.linalg.solve(precision, loadings.T) / noise
        variance = np.diag(root) ** -2.0
        return cls(groups, prior_weights, prior_variance, loadings, noise, weights, slopes, np.zeros(size), variance)

    def perturbed(self, shift: float, scale: float) -> LinearGaussian:
        """Returns the model with a posterior off by ``shift`` in every mean and ``scale`` times as wide in variance."""
        return replace(self, offset=self.offset + shift, variance=self.variance * scale)

    def collapsed(self) -> LinearGaussian:
        """Returns the model with the prior for its posterior: z says nothing of x."""
        nothing = np.zeros_like(self.slopes)
        return replace(
            self, weights=self.prior_weights, slopes=nothing, offset=nothing[:, 0], variance=self.prior_variance
        )

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draws n texts from p(x) (n x T)."""
        z = (rng.normal(size=(n, len(self.prior_variance))) * self.prior_variance**0.5) @ _solved(self.prior_weights).T
        return z @ self.loadings.T + self.noise**0.5 * rng.normal(size=(n, len(self.loadings)))

    def log_p(self, x: Array) -> Array:
        """Returns log p(x) of texts (N x T), nats (N)."""
        inverse = np.linalg.inv(self.text_covariance)
        constant = x.shape[1] * LOG_2PI + np.linalg.slogdet(self.text_covariance)[1]
        return -0.5 * (np.einsum("nt,ts,ns->n", x, inverse, x) + constant)

    def rec(self, x: Array) -> Array:
        """Returns -E_q log p(x | z), nats (N)."""
        error = x - self.posterior_mean(x) @ self.loadings.T
        spread = np.trace(self.loadings @ self.posterior_covariance @ self.loadings.T)
        return 0.5 * (((error**2).sum(axis=1) + spread) / self.noise + x.shape[1] * np.log(2 * np.pi * self.noise))

    def kl(self, x: Array) -> Array:
        """Returns KL(q(z | x) || p(z)), nats (N)."""
        mean, covariance, prior = self.posterior_mean(x), self.posterior_covariance, self.prior_covariance
        square = np.einsum("nd,de,ne->n", mean, np.linalg.inv(prior), mean)
        ratio = np.trace(np.linalg.solve(prior, covariance)) - len(prior) - _log_determinant(covariance, prior)
        return 0.5 * (square + ratio)

    def elbo(self, x: Array) -> Array:
        """Returns the negative ELBO, nats (N): -log p(x) + KL(q(z | x) || p(z | x))."""
        return self.rec(x) + self.kl(x)

    def chi_square(self, x: Array) -> Array:
        """Returns the variance of one importance weight over p(x)² (N): the χ² divergence of p(z | x) from q(z | x).

        log p_K(x) is about half of it over K below log p(x). It is infinite where q has less than half the variance.
        """
        exact = self.with_exact_posterior(
            (1,) * len(self.prior_variance), self.prior_weights, self.prior_variance, self.loadings, self.noise
        )
        target, proposal = (np.linalg.inv(model.posterior_covariance) for model in (exact, self))
        excess = 2 * target - proposal
        if np.linalg.eigvalsh(excess)[0] <= 0:
            return np.full(len(x), np.inf)
        apart = (exact.posterior_mean(x) - self.posterior_mean(x)) @ target
        matrix = 2 * np.linalg.inv(excess) - np.linalg.inv(target)
        exponent = np.einsum("nd,de,ne->n", apart, matrix, apart)
        scale = 0.5 * (_log_determinant(target, proposal) + _log_determinant(target, excess))
        chi_square: Array = np.expm1(scale + exponent)
        return chi_square

    @property
    def mutual_information(self) -> float:
        """I(x; z) under q(z | x) and p(x), nats."""
        aggregated = self.posterior_covariance + self.mean_covariance
        return 0.5 * _log_determinant(aggregated, self.posterior_covariance)

    @property
    def mean_variances(self) -> Array:
        """Variance over texts of the posterior means, averaged over ancestors (D)."""
        return np.diag(self.mean_covariance).copy()

    @property
    def conditional_mean_variances(self) -> Array:
        """Variance, over texts and sampled ancestors, of the posterior means given these ancestors (D)."""
        return np.diag(self.posterior_covariance + self.mean_covariance) - self.variance

    def posterior_mean(self, x: Array) -> Array:
        """Returns E_q[z] of texts (N x D)."""
        return (x @ self.slopes.T + self.offset) @ _solved(self.weights).T

    @cached_property
    def posterior_covariance(self) -> Array:
        """Covariance of q(z | x), the same for all x (D x D)."""
        return _solved(self.weights) * self.variance @ _solved(self.weights).T

    @cached_property
    def prior_covariance(self) -> Array:
        """Covariance of p(z) (D x D)."""
        return _solved(self.prior_weights) * self.prior_variance @ _solved(self.prior_weights).T

    @cached_property
    def text_covariance(self) -> Array:
        """Covariance of p(x) (T x T)."""
        signal: Array = self.loadings @ self.prior_covariance @ self.loadings.T
        return signal + self.noise * np.eye(len(signal))

    @cached_property
    def mean_covariance(self) -> Array:
        """Covariance over texts of E_q[z] (D x D)."""
        slopes = _solved(self.weights) @ self.slopes
        return slopes @ self.text_covariance @ slopes.T


def _solved(weights: Array) -> Array:
    """Returns (I - weights)^-1, which takes the noise of a chain to its variables."""
    return np.asarray(np.linalg.inv(np.eye(len(weights)) - weights), dtype=np.float64)


def _log_determinant(first: Any, second: Any) -> float:
    """Returns log of the ratio of the determinants of two matrices."""
    return float(np.linalg.slogdet(first)[1] - np.linalg.slogdet(second)[1])


def spell(x: Array) -> list[str]:
    """Writes numbers (N x T) as texts that read back as the same numbers."""
    return [" ".join(map(repr, row)) for row in x.tolist()]


def number_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer whose tokens are the numbers in ``texts``."""
    words = sorted({word for text in texts for word in text.split()})
    engine = Engine(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=words[0]))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Tokenizer(engine, "numbers")


@dataclass(frozen=True)
class Chain:
    """A chain of diagonal Gaussians, one per group, each linear in those before.

    Attributes:
        groups: sizes of the groups.
        weights: what ancestors add to the means (D x D).
        drift: the rest of the means (B x D).
        log_variance: of each dimension given its ancestors (D).
    """

    groups: tuple[int, ...]
    weights: Tensor
    drift: Tensor
    log_variance: Tensor

    def given(self, group: int, ancestors: Tensor) -> Gaussian:
        """Returns the distribution of a group given all samples before it (B or 1 x n x dimensions so far)."""
        start = sum(self.groups[:group])
        own = slice(start, start + self.groups[group])
        mean = self.drift[:, None, own] + ancestors[..., :start] @ self.weights[own, :start].T
        return Gaussian(mean, self.log_variance[own].expand_as(mean))


@dataclass(frozen=True)
class ChainPosterior(Posterior):
    """q(z | x) of a batch, against p(z)."""

    q: Chain
    p: Chain

    def sample(self, n: int, generator: Generators) -> LatentPath:
        """Draws each group given the samples before it."""
        batch = len(self.q.drift)
        so_far = self.q.drift.new_zeros(batch, n, 0)
        groups = []
        for group, size in enumerate(self.q.groups):
            q, p = self.q.given(group, so_far), self.p.given(group, so_far)
            z = q.draw(draw_noise(batch, n, size, generator, so_far))
            groups.append((z, q.mean, q.log_prob(z), p.log_prob(z), q.kl_dimensions(p)))
            so_far = torch.cat([so_far, z], dim=-1)
        return path_from_groups(groups)

    def log_prob(self, path: LatentPath) -> Tensor:
        """Scores samples under every text's posterior (B x n x G)."""
        z = torch.cat(path.z, dim=-1)
        terms = [self.q.given(group, z).log_prob(own) for group, own in enumerate(path.z)]
        return torch.stack(terms, dim=-1)


class LinearGaussianSystem(System):
    """A ``LinearGaussian`` as a system that the harness scores: encode, sample, likelihood, in double precision.

    Args:
        model: the model.
        tokenizer: has a token for every number of the texts, as ``number_tokenizer`` makes it.
    """

    def __init__(self, model: LinearGaussian, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, sum(model.groups), SystemConfig())
        self.groups = model.groups
        words = tokenizer.decode([[index] for index in range(len(tokenizer))])
        self.number = nn.Parameter(torch.tensor([float(word or "nan") for word in words], dtype=torch.float64), False)
        self.loadings, self.slopes, self.offset = map(_tensor, (model.loadings, model.slopes, model.offset))
        self.log_noise = float(np.log(model.noise))
        nothing = torch.zeros(1, len(model.offset), dtype=torch.float64)
        self.prior = Chain(self.groups, _tensor(model.prior_weights), nothing, _tensor(np.log(model.prior_variance)))
        self.posterior = Chain(self.groups, _tensor(model.weights), nothing, _tensor(np.log(model.variance)))

    def numbers(self, batch: Batch) -> Tensor:
        """Returns the numbers of a batch of texts (B x T), without BOS and EOS."""
        return self.number[batch.ids[:, 1:-1]]

    def encode(self, batch: Batch) -> ChainPosterior:
        """Returns q(z | x)."""
        drift = self.numbers(batch) @ self.slopes.T + self.offset
        return ChainPosterior(replace(self.posterior, drift=drift), self.prior)

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws n samples of p(z)."""
        return ChainPosterior(self.prior, self.prior).sample(n, generator)

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns the log density of the numbers given each sample (B x n); that a text ends there is certain."""
        mean = torch.cat(path.z, dim=-1) @ self.loadings.T
        variance = torch.full_like(mean, self.log_noise)
        return Gaussian(mean, variance).log_prob(self.numbers(batch)[:, None])

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        """Has densities of numbers, no probabilities of tokens.

        Raises:
            BenchError: always.
        """
        raise BenchError("a linear-Gaussian model gives densities of numbers and generates no tokens.")


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))

"""Diagonal Gaussians: the densities, divergences and draws that every latent variable here is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.batch import Generators
from bench.bootstrap import Array
from bench.interface import LatentPath, Posterior

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian over the last axis, by its mean and log-variance."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def split(
        cls, parameters: Tensor, clamp: float | None = None, through: Callable[[Tensor], Tensor] | None = None
    ) -> Gaussian:
        """Reads [mean, log-variance] from the last axis, in float32 at least.

        Args:
            parameters: (... x 2D).
            clamp: bound on both.
            through: what the mean goes through before; a posterior gives ``System.posterior_mean``.
        """
        # Under autocast networks give bfloat16, in whose 8 bits log densities about -60 are a quarter nat apart.
        mean, log_variance = parameters.to(torch.promote_types(parameters.dtype, torch.float32)).chunk(2, dim=-1)
        if through is not None:
            mean = through(mean)
        if clamp is not None:
            mean, log_variance = mean.clamp(-clamp, clamp), log_variance.clamp(-clamp, clamp)
        return cls(mean, log_variance)

    def per_sample(self) -> Gaussian:
        """Returns the same distributions with an axis for samples (B x 1 x D)."""
        return Gaussian(self.mean[:, None], self.log_variance[:, None])

    def draw(self, noise: Tensor) -> Tensor:
        """Returns mean + standard deviation x noise."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns the log density summed over the last axis, in nats."""
        square = (z - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (square + self.log_variance + LOG_2PI).sum(-1)

    def kl_dimensions(self, other: Gaussian) -> Tensor:
        """Returns KL(self || other) of every dimension, in nats."""
        ratio = self.log_variance - other.log_variance
        square = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return 0.5 * (ratio.exp() + square - 1.0 - ratio)


def standard_gaussian(like: Tensor) -> Gaussian:
    """Returns N(0, I) in the shape of ``like``."""
    return Gaussian(torch.zeros_like(like), torch.zeros_like(like))


def draw_noise(batch: int, n: int, size: int, generator: Generators, like: Tensor) -> Tensor:
    """Returns standard normal noise (batch x n x size) in the type and on the device of ``like``.

    With one generator per text the noise of a text does not depend on the batch it is scored in. Noise is drawn on
    the generator's device and moved, so a seed means the same numbers on CPU and GPU.
    """
    if isinstance(generator, torch.Generator):
        noise = torch.randn(batch, n, size, generator=generator, device=generator.device)
    else:
        noise = torch.stack([torch.randn(n, size, generator=one, device=one.device) for one in generator])
    if like.device.type == "cuda" and noise.device.type == "cpu":
        noise = noise.pin_memory()  # what is not pinned is waited for
    return noise.to(like.device, like.dtype, non_blocking=True)


@dataclass(frozen=True)
class GaussianPosterior(Posterior):
    """One latent group: posterior ``q`` (B x D) against the prior ``p`` (B x D), standard normal if None."""

    q: Gaussian
    p: Gaussian | None = None

    def sample(self, n: int, generator: Generators) -> LatentPath:
        """Draws n samples per text."""
        q = self.q.per_sample()
        p = standard_gaussian(q.mean) if self.p is None else self.p.per_sample()
        batch, size = self.q.mean.shape
        z = q.draw(draw_noise(batch, n, size, generator, self.q.mean))
        return path_of(
            [z], [q.mean.expand_as(z)], [q.log_prob(z)], [p.log_prob(z)], [q.kl_dimensions(p).expand(-1, n, -1)]
        )

    def log_prob(self, path: LatentPath) -> Tensor:
        """Scores samples under every text's posterior (B x n x 1)."""
        return self.q.per_sample().log_prob(path.z[0])[..., None]


def sample_gaussian_prior(p: Gaussian, n: int, generator: Generators) -> LatentPath:
    """Draws n samples of one group from each of the priors ``p`` (B x D)."""
    p = p.per_sample()
    batch, _, size = p.mean.shape
    z = p.draw(draw_noise(batch, n, size, generator, p.mean))
    log_p = p.log_prob(z)
    return path_of([z], [p.mean.expand_as(z)], [log_p], [log_p], [torch.zeros_like(z)])


def path_of(
    z: Sequence[Tensor], mean: Sequence[Tensor], log_q: Sequence[Tensor], log_p: Sequence[Tensor], kl: Sequence[Tensor]
) -> LatentPath:
    """Builds a path from one entry per group: samples, means and KL terms (B x n x D), log densities (B x n)."""
    terms = [torch.stack(list(term), -1) for term in (log_q, log_p, [one.sum(-1) for one in kl])]
    return LatentPath(tuple(z), tuple(mean), terms[0], terms[1], terms[2], tuple(kl))


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

"""Diagonal Gaussian posteriors and priors: densities, KL divergence and sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

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
    def from_parameters(
        cls, parameters: Tensor, clamp: float | None = None, mean_transform: Callable[[Tensor], Tensor] | None = None
    ) -> Gaussian:
        """Reads [mean, log-variance] from the last axis, in float32 at least.

        Args:
            parameters: output of a network (... x 2D).
            clamp: bound on the absolute values of mean and log-variance.
            mean_transform: applied to the mean before ``clamp``; a posterior passes ``System.posterior_mean``.
        """
        # Under autocast networks return bfloat16, in which log densities near -60 are rounded to a quarter of a nat.
        mean, log_variance = parameters.to(torch.promote_types(parameters.dtype, torch.float32)).chunk(2, dim=-1)
        if mean_transform is not None:
            mean = mean_transform(mean)
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


def standard_normal_like(tensor: Tensor) -> Gaussian:
    """Returns N(0, I) with the shape, data type and device of a tensor (... x D)."""
    return Gaussian(torch.zeros_like(tensor), torch.zeros_like(tensor))


def draw_noise(batch: int, n: int, size: int, generator: Generators, target: Tensor) -> Tensor:
    """Returns standard normal noise (batch x n x size) with the data type and on the device of ``target``.

    With one generator per text the noise of a text does not depend on the batch it is scored in. Noise is drawn on
    the generator's device and then moved, so the same seed gives the same numbers on CPU and GPU.
    """
    if isinstance(generator, torch.Generator):
        noise = torch.randn(batch, n, size, generator=generator, device=generator.device)
    else:
        noise = torch.stack([torch.randn(n, size, generator=stream, device=stream.device) for stream in generator])
    if target.device.type == "cuda" and noise.device.type == "cpu":
        noise = noise.pin_memory()  # the copy to the GPU is asynchronous only from pinned memory
    return noise.to(target.device, target.dtype, non_blocking=True)


@dataclass(frozen=True)
class GaussianPosterior(Posterior):
    """The posterior of one latent group.

    Attributes:
        q: posterior of each text (B x D).
        p: prior of each text (B x D); None for N(0, I).
    """

    q: Gaussian
    p: Gaussian | None = None

    @override
    def sample(self, n: int, generator: Generators) -> LatentPath:
        batch, size = self.q.mean.shape
        return self.path_of(self.q.per_sample().draw(draw_noise(batch, n, size, generator, self.q.mean)))

    def path_of(self, z: Tensor) -> LatentPath:
        """Returns the path of given values (B x n x D), with their terms."""
        q = self.q.per_sample()
        p = standard_normal_like(q.mean) if self.p is None else self.p.per_sample()
        kl = q.kl_dimensions(p).expand_as(z)
        return path_from_groups([(z, q.mean.expand_as(z), q.log_prob(z), p.log_prob(z), kl)])

    @override
    def log_prob(self, path: LatentPath) -> Tensor:
        return self.q.per_sample().log_prob(path.z[0])[..., None]


def sample_gaussian_prior(p: Gaussian, n: int, generator: Generators) -> LatentPath:
    """Draws n samples of one latent group from each of B priors (B x D)."""
    return GaussianPosterior(p, p).sample(n, generator)


def path_from_groups(groups: Sequence[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]) -> LatentPath:
    """Builds a path from z, mean, log q, log p and KL of each group: B x n x D, the log densities B x n."""
    z, mean, log_q, log_p, kl = zip(*groups, strict=True)
    terms = [torch.stack(term, -1) for term in (log_q, log_p, [dimensions.sum(-1) for dimensions in kl])]
    return LatentPath(z, mean, terms[0], terms[1], terms[2], kl)


def aggregated_posterior(posteriors: Sequence[Posterior], samples: Sequence[LatentPath]) -> tuple[Array, Array]:
    """Scores one sample per text under its own posterior and under the aggregated posterior; groups are summed.

    Args:
        posteriors: posterior of each batch of texts.
        samples: one sample per text, for each batch.

    Returns:
        log q(z | x), and log q(z), where q(z) is the average over all texts x of q(z | x); in nats, text by text.
    """
    own = np.concatenate([path.log_q.double().sum(-1)[:, 0].cpu().numpy() for path in samples])
    return own, log_sum_of_posteriors(posteriors, samples) - np.log(len(own))


def log_sum_of_posteriors(posteriors: Sequence[Posterior], samples: Sequence[LatentPath]) -> Array:
    """Returns log of the sum of q(z | x) over the texts x of all posteriors, for one sample z per text of ``samples``.

    Args:
        posteriors: posterior of each batch of texts.
        samples: one sample per text, for each batch; of these or other texts.
    """
    sums = []
    for path in samples:
        under_each = [posterior.log_prob(path.shared()).double().sum(-1).logsumexp(0) for posterior in posteriors]
        nothing = torch.full((len(path.log_q),), -math.inf, dtype=torch.float64)
        sums.append((torch.stack(under_each).logsumexp(0) if under_each else nothing).cpu().numpy())
    return np.concatenate(sums)

"""Batch normalisation of posterior means, which keeps the KL from vanishing."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.interface import System
from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import Adaptation


class BatchNorm(Adaptation):
    """Batch norm on the means of every latent group, with a fixed scale and a learned shift (Zhu et al. 2020).

    Over a training batch each mean has variance gamma^2, so against N(0, I) the KL averages at least gamma^2 / 2 nats a
    dimension. Deeper groups are normalised given their sampled ancestors.

    Attributes:
        gamma: the fixed scale; 0.5 in the authors' code, 1 in Table 5 of DELLA.
        momentum: of the running statistics, by which scoring normalises.
        epsilon: added to the variance. The authors have torch's 1e-5, which is nothing beside the means of an LSTM;
            those of a Transformer can shrink until it is not, and the KL with them.
    """

    gamma: float = Field(0.5, gt=0)
    momentum: float = Field(0.1, gt=0, le=1)
    epsilon: float = Field(1e-8, gt=0)

    def unsupported(self, flow: GradientFlow) -> str | None:
        """Needs latent variables whose means go through ``System.posterior_mean``."""
        if not flow.system.groups:
            return "batch norm of posterior means needs latent variables"
        ours = {f"mean_norms.{group}.shift" for group in range(len(flow.system.groups))}
        return None if ours <= flow.posterior() else "its posterior means do not go through System.posterior_mean"

    def adapt(self, system: System) -> None:
        """Puts a norm on the means of every group."""
        system.mean_norms = nn.ModuleList(
            NormalisedMean(size, self.gamma, self.momentum, self.epsilon) for size in system.groups
        )


class NormalisedMean(nn.Module):
    """gamma (mean - average) / sqrt(variance + epsilon) + shift, dimension by dimension.

    Average and variance are those of the batch in training, all samples of all texts, and the running ones otherwise:
    what is scored does not depend on its batch. A training batch of a single mean has no variance; it is normalised by
    the running statistics and leaves them as they are (the authors' code leaves it as it is).

    Args:
        size: dimensions D of the latent group.
        gamma: the fixed scale.
        momentum: weight of a batch in the running statistics.
        epsilon: added to the variance.
    """

    shift: Tensor
    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, size: int, gamma: float, momentum: float, epsilon: float) -> None:
        super().__init__()
        self.gamma, self.momentum, self.epsilon = gamma, momentum, epsilon
        self.shift = nn.Parameter(torch.zeros(size))
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_variance", torch.ones(size))

    def forward(self, mean: Tensor) -> Tensor:
        """Normalises means (... x D)."""
        rows = mean.reshape(-1, mean.shape[-1]).to(self.shift.dtype)
        normalised = nn.functional.batch_norm(
            rows,
            self.running_mean,
            self.running_variance,
            torch.full_like(self.shift, self.gamma),
            self.shift,
            self.training and len(rows) > 1,
            self.momentum,
            self.epsilon,
        )
        return normalised.view(mean.shape)

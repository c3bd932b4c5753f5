"""Batch normalisation of posterior means, which keeps the KL from vanishing."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from bench.interface import System
from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import Adaptation


class BatchNorm(Adaptation):
    """Batch norm on the posterior means of every latent group: fixed scale, learned shift (Zhu et al. 2020).

    Each mean then has variance gamma^2 over a training batch, so the KL to N(0, I) is on average at least gamma^2 / 2
    nats per dimension. Deeper groups are normalised given their sampled ancestors.

    Attributes:
        gamma: the fixed scale; 0.5 in the authors' code, 1 in Table 5 of DELLA.
        momentum: weight of a batch in the running statistics, which scoring uses.
        epsilon: added to the variance. The authors use torch's 1e-5, which is small beside the variance of an LSTM's
            means. A Transformer's means can shrink until it is not, and the KL then shrinks too.
    """

    gamma: float = Field(0.5, gt=0)
    momentum: float = Field(0.1, gt=0, le=1)
    epsilon: float = Field(1e-8, gt=0)

    @override
    def supports(self, flow: GradientFlow) -> str | None:
        if not flow.system.groups:
            return "batch norm of posterior means needs latent variables"
        shifts = {f"mean_norms.{group}.shift" for group in range(len(flow.system.groups))}
        return None if shifts <= flow.posterior() else "its posterior means do not go through System.posterior_mean"

    @override
    def adapt(self, system: System) -> None:
        system.mean_norms = nn.ModuleList(NormalisedMean(size, self) for size in system.groups)


class NormalisedMean(nn.Module):
    """gamma (mean - average) / sqrt(variance + epsilon) + shift, for each dimension.

    Training takes average and variance over all samples of all texts of the batch; scoring takes the running ones, so
    a score does not depend on the batch. A training batch of a single mean has no variance: the running statistics
    normalise it and stay as they are (the authors' code does not normalise it).

    Args:
        size: dimensions D of the latent group.
        options: gamma, momentum and epsilon.
    """

    shift: Tensor
    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, size: int, options: BatchNorm) -> None:
        super().__init__()
        self.options = options
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
            torch.full_like(self.shift, self.options.gamma),
            self.shift,
            self.training and len(rows) > 1,
            self.options.momentum,
            self.options.epsilon,
        )
        return normalised.view(mean.shape)

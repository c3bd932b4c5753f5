"""Batch-normalised posterior means against torch's own batch norm with its scale held fixed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.latents import Gaussian
from bench.objectives import build_objective, build_stages, resolve_objective
from bench.objectives.batch_norm import BatchNorm, NormalisedMean

# Two ways of the same few float64 operations.
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def pair(
    size: int, gamma: float, momentum: float = 0.1, epsilon: float = 1e-5
) -> tuple[NormalisedMean, nn.BatchNorm1d]:
    torch.manual_seed(0)
    shift = torch.randn(size, dtype=torch.float64)
    ours = NormalisedMean(size, BatchNorm(gamma=gamma, momentum=momentum, epsilon=epsilon)).double()
    torchs = nn.BatchNorm1d(size, eps=epsilon, momentum=momentum).double()
    with torch.no_grad():
        ours.shift.copy_(shift)
        torchs.bias.copy_(shift)
        torchs.weight.fill_(gamma)
    return ours, torchs


@pytest.mark.parametrize("shape", [(6, 3), (4, 2, 3)])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_training_and_scoring_are_torchs(shape: tuple[int, ...], gamma: float) -> None:
    ours, torchs = pair(shape[-1], gamma)
    for step in range(4):
        torch.manual_seed(step)
        mean = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        expected = torchs(mean.flatten(0, -2)).view(shape)
        torch.testing.assert_close(ours(mean), expected, **EXACT)
        pull = torch.randn(shape, dtype=torch.float64)
        gradients = torch.autograd.grad((ours(mean) * pull).sum(), (mean, ours.shift))
        literal = torch.autograd.grad((torchs(mean.flatten(0, -2)).view(shape) * pull).sum(), (mean, torchs.bias))
        for gradient, expected in zip(gradients, literal, strict=True):
            torch.testing.assert_close(gradient, expected, **EXACT)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean, **EXACT)
    torch.testing.assert_close(ours.running_variance, torchs.running_var, **EXACT)
    ours.eval()
    torchs.eval()
    mean = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(ours(mean), torchs(mean.flatten(0, -2)).view(shape), **EXACT)


@pytest.mark.parametrize("gamma", [0.3, 0.5, 1.0])
def test_a_training_batch_has_the_variance_gamma_squared_about_the_shift(gamma: float) -> None:
    """Epsilon takes the share epsilon / variance away."""
    norm, _ = pair(5, gamma)
    normalised = norm(7.0 + 3.0 * torch.randn(64, 5, dtype=torch.float64))
    torch.testing.assert_close(
        normalised.var(0, unbiased=False), torch.full((5,), gamma**2).double(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(normalised.mean(0), norm.shift.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_kl_has_the_lower_bound_of_the_paper(gamma: float) -> None:
    """E KL >= (D gamma^2 + |shift|^2) / 2, with equality where the variances are the prior's (Zhu et al. 2020)."""
    norm, _ = pair(5, gamma, epsilon=1e-12)
    mean, log_variance = torch.randn(2, 32, 5, dtype=torch.float64).unbind()
    bound = 0.5 * (5 * gamma**2 + norm.shift.detach().square().sum())
    prior = Gaussian(torch.zeros(32, 5).double(), torch.zeros(32, 5).double())

    def average(log_variance: torch.Tensor) -> torch.Tensor:
        parameters = torch.cat([mean, log_variance], dim=-1)
        return Gaussian.from_parameters(parameters, mean_transform=norm).kl_dimensions(prior).sum(-1).mean()

    assert average(log_variance) > bound
    torch.testing.assert_close(average(torch.zeros_like(log_variance)), bound, rtol=1e-9, atol=0)


def test_scoring_does_not_depend_on_the_batch() -> None:
    norm, _ = pair(3, 0.5)
    norm(torch.randn(8, 3, dtype=torch.float64))
    norm.eval()
    means = torch.randn(6, 3, dtype=torch.float64)
    together = norm(means)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    for row, mean in enumerate(means):
        torch.testing.assert_close(norm(mean[None])[0], together[row], **EXACT)
    assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())


def test_a_training_batch_of_one_is_normalised_by_what_is_known() -> None:
    norm, _ = pair(3, 0.5)
    norm(torch.randn(8, 3, dtype=torch.float64))
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    mean = torch.randn(1, 3, dtype=torch.float64)
    normalised = norm(mean)
    assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())
    torch.testing.assert_close(normalised, norm.eval()(mean), **EXACT)


def test_means_are_bounded_after_they_are_normalised() -> None:
    norm, _ = pair(2, 10.0)
    torch.manual_seed(0)
    q = Gaussian.from_parameters(torch.randn(16, 4, dtype=torch.float64), clamp=5.0, mean_transform=norm)
    assert q.mean.abs().max() == 5.0


def test_what_changes_the_system_is_in_every_stage() -> None:
    for label in ("constant:0+batch-norm:0.7+then+linear", "constant:0+then+linear+batch-norm:0.7"):
        stages = build_stages(resolve_objective(label.split("+")), epochs=2)
        assert [stage.objective.adaptations for stage in stages] == [(BatchNorm(gamma=0.7),)] * 2
    message = re.escape("'batch-norm' changes the system, so it is the same in all stages.")
    with pytest.raises(BenchError, match=message):
        resolve_objective(["batch-norm:0.7", "then", "batch-norm:0.5"])


def test_the_default_is_the_authors() -> None:
    assert build_objective(resolve_objective(["batch-norm"]).parts).adaptations == (BatchNorm(gamma=0.5),)

"""Gaussians against torch.distributions and Monte Carlo; samples that do not depend on the batch.

Everything runs in float64; 1e-12 leaves room for the order of a sum.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from bench.interface import LatentPath
from bench.latents import (
    Gaussian,
    GaussianPosterior,
    draw_noise,
    path_from_groups,
    sample_gaussian_prior,
    standard_normal_like,
)

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def gaussian(*shape: int, seed: int = 0) -> Gaussian:
    stream = torch.Generator().manual_seed(seed)
    return Gaussian(
        torch.randn(shape, generator=stream, dtype=torch.float64),
        torch.randn(shape, generator=stream, dtype=torch.float64),
    )


def torchs(ours: Gaussian) -> Independent[Normal]:
    return Independent(Normal(ours.mean, (ours.log_variance / 2).exp()), 1)


def streams(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 1)])
def test_density_and_divergence_equal_torch(shape: tuple[int, ...]) -> None:
    p, q = gaussian(*shape), gaussian(*shape, seed=1)
    z = torch.randn(4, *shape, dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), torchs(p).log_prob(z), **EXACT)
    torch.testing.assert_close(q.kl_dimensions(p).sum(-1), kl_divergence(torchs(q), torchs(p)), **EXACT)
    dimensions = kl_divergence(torchs(q).base_dist, torchs(p).base_dist)
    torch.testing.assert_close(q.kl_dimensions(p), dimensions, **EXACT)


def test_divergence_is_zero_from_itself_and_positive_from_others() -> None:
    p = gaussian(200, 3)
    assert torch.equal(p.kl_dimensions(p), torch.zeros(200, 3, dtype=torch.float64))
    assert (gaussian(200, 3, seed=1).kl_dimensions(p) > 0).all()


def test_divergence_is_the_expected_log_ratio() -> None:
    """Monte Carlo over 200,000 draws; a deviation of 5 standard errors has a probability below 1e-6."""
    q, p = gaussian(4, seed=2), gaussian(4, seed=3)
    z = q.draw(torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    ratio = q.log_prob(z) - p.log_prob(z)
    kl = float(q.kl_dimensions(p).sum())
    assert float(ratio.mean()) == pytest.approx(kl, abs=5 * float(ratio.std()) / math.sqrt(len(ratio)))


def test_a_draw_is_mean_plus_deviation_times_noise() -> None:
    q = Gaussian(torch.tensor([1.0, -2.0]), torch.tensor([0.0, math.log(9.0)]))
    torch.testing.assert_close(
        q.draw(torch.tensor([[0.0, 0.0], [1.0, -1.0]])), torch.tensor([[1.0, -2.0], [2.0, -5.0]])
    )


def test_gradients_flow_through_a_draw() -> None:
    mean, log_variance = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    noise = torch.tensor([0.5, -1.0, 2.0])
    Gaussian(mean, log_variance).draw(noise).sum().backward()
    assert torch.equal(mean.grad, torch.ones(3))
    assert torch.equal(log_variance.grad, noise / 2)


def test_parameters_are_split_and_clamped() -> None:
    parameters = torch.tensor([[1.0, -7.0, 6.0, -0.5]])
    free, bound = Gaussian.from_parameters(parameters), Gaussian.from_parameters(parameters, clamp=5.0)
    assert (free.mean.tolist(), free.log_variance.tolist()) == ([[1.0, -7.0]], [[6.0, -0.5]])
    assert (bound.mean.tolist(), bound.log_variance.tolist()) == ([[1.0, -5.0]], [[5.0, -0.5]])


def test_standard_normal_like() -> None:
    z = torch.randn(3, 4, dtype=torch.float64)
    expected = Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(standard_normal_like(z).log_prob(z), expected, **EXACT)


def test_the_noise_of_a_text_does_not_depend_on_its_batch() -> None:
    like = torch.zeros(())
    whole = draw_noise(4, 3, 5, streams(10, 11, 12, 13), like)
    for place, seed in enumerate((10, 11, 12, 13)):
        assert torch.equal(draw_noise(1, 3, 5, streams(seed), like)[0], whole[place])
    assert torch.equal(draw_noise(2, 3, 5, streams(13, 10), like), whole[[3, 0]])
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 4


def test_one_stream_serves_a_whole_batch() -> None:
    noise = draw_noise(4, 3, 5, *streams(10), torch.zeros(()))
    assert torch.equal(noise, torch.randn(4, 3, 5, generator=streams(10)[0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_noise_has_the_data_type_of_its_target(dtype: torch.dtype) -> None:
    noise = draw_noise(2, 3, 5, *streams(1), torch.zeros((), dtype=dtype))
    assert noise.dtype == dtype
    torch.testing.assert_close(noise, torch.randn(2, 3, 5, generator=streams(1)[0]).to(dtype))


def test_terms_of_a_sampled_path() -> None:
    q = gaussian(3, 4)
    path = GaussianPosterior(q).sample(5, torch.Generator().manual_seed(0))
    (z,), (mean,) = path.z, path.mean
    assert (z.shape, mean.shape, path.n) == ((3, 5, 4), (3, 5, 4), 5)
    prior = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    for k in range(5):
        torch.testing.assert_close(mean[:, k], q.mean, **EXACT)
        torch.testing.assert_close(path.log_q[:, k, 0], torchs(q).log_prob(z[:, k]), **EXACT)
    torch.testing.assert_close(path.log_p[..., 0], prior.log_prob(z), **EXACT)
    standard = Independent(Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean)), 1)
    torch.testing.assert_close(path.kl[..., 0], kl_divergence(torchs(q), standard)[:, None].expand(-1, 5), **EXACT)
    (dimensions,) = path.kl_dimensions or ()
    expected = kl_divergence(torchs(q).base_dist, standard.base_dist)
    torch.testing.assert_close(dimensions, expected[:, None].expand(-1, 5, -1), **EXACT)


def test_log_prob_of_own_and_shared_samples() -> None:
    q = gaussian(3, 4)
    posterior = GaussianPosterior(q)
    path = posterior.sample(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(posterior.log_prob(path), path.log_q, **EXACT)

    shared = path.shared()
    scores = posterior.log_prob(shared)
    assert shared.z[0].shape == (1, 15, 4)
    assert scores.shape == (3, 15, 1)
    for text in range(3):
        of_text = Gaussian(q.mean[text], q.log_variance[text])
        torch.testing.assert_close(scores[text, :, 0], torchs(of_text).log_prob(path.z[0].reshape(15, 4)), **EXACT)


def test_narrow() -> None:
    path = GaussianPosterior(gaussian(3, 4)).sample(5, torch.Generator().manual_seed(0))
    part = path.narrow(1, 3)
    assert part.n == 2
    pairs = zip(tensors(path), tensors(part), strict=True)
    assert all(torch.equal(whole[:, 1:3], narrow) for whole, narrow in pairs)


def test_shared_keeps_the_samples_of_a_text_adjacent() -> None:
    path = GaussianPosterior(gaussian(3, 4)).sample(5, torch.Generator().manual_seed(0))
    for whole, shared in zip(tensors(path), tensors(path.shared()), strict=True):
        assert shared.shape == (1, 15, whole.shape[-1])
        assert torch.equal(shared[0, 7], whole[1, 2])


def test_terms_with_a_given_prior() -> None:
    q, p = gaussian(3, 4), gaussian(3, 4, seed=1)
    path = GaussianPosterior(q, p).sample(5, torch.Generator().manual_seed(0))
    (z,) = path.z
    for k in range(5):
        torch.testing.assert_close(path.log_q[:, k, 0], torchs(q).log_prob(z[:, k]), **EXACT)
        torch.testing.assert_close(path.log_p[:, k, 0], torchs(p).log_prob(z[:, k]), **EXACT)
        torch.testing.assert_close(path.kl[:, k, 0], kl_divergence(torchs(q), torchs(p)), **EXACT)


def test_terms_of_samples_from_the_prior() -> None:
    p = gaussian(3, 4)
    path = sample_gaussian_prior(p, 5, torch.Generator().manual_seed(0))
    (z,), (mean,) = path.z, path.mean
    noise = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    for k in range(5):
        torch.testing.assert_close(z[:, k], p.mean + (p.log_variance / 2).exp() * noise[:, k], **EXACT)
        torch.testing.assert_close(mean[:, k], p.mean, **EXACT)
        torch.testing.assert_close(path.log_p[:, k, 0], torchs(p).log_prob(z[:, k]), **EXACT)
    assert torch.equal(path.log_q, path.log_p)
    assert not path.kl.any()


def test_path_from_groups() -> None:
    z, terms = torch.zeros(2, 3, 4), [torch.full((2, 3), float(group)) for group in range(3)]
    kl = [torch.full((2, 3, size), float(size)) for size in (4, 2, 1)]
    path = path_from_groups([(z, z, *group) for group in zip(terms, terms, kl, strict=True)])
    assert len(path.z) == len(path.mean) == 3
    assert path.log_q.shape == path.kl.shape == (2, 3, 3)
    assert path.log_q[0, 0].tolist() == [0.0, 1.0, 2.0]
    assert path.kl[0, 0].tolist() == [16.0, 4.0, 1.0]
    assert path.kl_dimensions == tuple(kl)


def test_concatenate() -> None:
    path = GaussianPosterior(gaussian(3, 4)).sample(5, torch.Generator().manual_seed(0))
    again = LatentPath.concatenate([path.narrow(0, 2), path.narrow(2, 3), path.narrow(3, 5)])
    assert all(torch.equal(whole, parts) for whole, parts in zip(tensors(path), tensors(again), strict=True))


def test_concatenated_paths_without_kl_dimensions() -> None:
    path = GaussianPosterior(gaussian(3, 4)).sample(2, torch.Generator().manual_seed(0))
    without = replace(path, kl_dimensions=None)
    assert LatentPath.concatenate([path, without]).kl_dimensions is None
    assert without.narrow(0, 1).kl_dimensions is None
    assert without.shared().kl_dimensions is None


def tensors(path: LatentPath) -> list[Tensor]:
    return [*path.z, *path.mean, path.log_q, path.log_p, path.kl, *(path.kl_dimensions or ())]

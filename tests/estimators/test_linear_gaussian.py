"""The closed forms of the linear-Gaussian model against sums over a fine grid of z, written from the densities.

The trapezoidal rule is exact to rounding for Gaussians on a grid this fine and wide: 1e-9 relative.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from bench.bootstrap import Array
from bench.errors import BenchError
from bench.harness.tokenized_texts import tokenize
from bench.specs import DecodingSpec
from bench.tasks import Example
from tests.estimators.linear_gaussian import LinearGaussian, LinearGaussianSystem, number_tokenizer, spell

AXIS = np.linspace(-10, 10, 501)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1)
CELL = (AXIS[1] - AXIS[0]) ** 2
TEXTS = np.array([[0.3, -1.2, 0.5], [2.0, 0.1, -0.4], [0.0, 0.0, 0.0]])


def chain(noise: float = 0.6) -> LinearGaussian:
    """Two groups of one dimension below texts of three numbers."""
    loadings = np.array([[1.1, -0.4], [0.3, 0.9], [-0.7, 0.5]])
    weights = np.array([[0.0, 0.0], [0.8, 0.0]])
    return LinearGaussian.with_exact_posterior((1, 1), weights, np.array([1.0, 0.7]), loadings, noise)


def log_chain(weights: Array, variance: Array, drift: Array) -> Array:
    """Log density on the grid of a chain of two: the second dimension's mean depends on the first."""
    first = norm.logpdf(GRID[..., 0], drift[0], variance[0] ** 0.5)
    return first + norm.logpdf(GRID[..., 1], drift[1] + weights[1, 0] * GRID[..., 0], variance[1] ** 0.5)


def log_prior(model: LinearGaussian) -> Array:
    return log_chain(model.prior_weights, model.prior_variance, np.zeros(2))


def log_posterior(model: LinearGaussian, x: Array) -> Array:
    return log_chain(model.weights, model.variance, model.slopes @ x + model.offset)


def log_likelihood(model: LinearGaussian, x: Array) -> Array:
    return norm.logpdf(x, GRID @ model.loadings.T, model.noise**0.5).sum(axis=-1)


def integral(values: Array) -> float:
    return float(values.sum() * CELL)


@pytest.mark.parametrize("x", TEXTS)
def test_the_probability_of_a_text_is_the_integral_over_its_causes(x: Array) -> None:
    model = chain()
    exact = np.log(integral(np.exp(log_prior(model) + log_likelihood(model, x))))
    assert model.log_p(x[None])[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("x", TEXTS)
def test_the_exact_posterior_is_that_of_bayes(x: Array) -> None:
    model = chain()
    joint = log_prior(model) + log_likelihood(model, x)
    near = joint > joint.max() - 30  # elsewhere both are nothing
    np.testing.assert_allclose(log_posterior(model, x)[near], (joint - model.log_p(x[None]))[near], atol=1e-9)


@pytest.mark.parametrize("x", TEXTS)
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.4), (-0.2, 0.7)])
def test_terms_are_integrals_over_the_posterior(x: Array, shift: float, scale: float) -> None:
    model = chain().perturbed(shift, scale)
    log_q, log_p, likelihood = log_posterior(model, x), log_prior(model), log_likelihood(model, x)
    q = np.exp(log_q)
    assert model.rec(x[None])[0] == pytest.approx(-integral(q * likelihood), rel=1e-9)
    assert model.kl(x[None])[0] == pytest.approx(integral(q * (log_q - log_p)), rel=1e-9)
    assert model.elbo(x[None])[0] == pytest.approx(-integral(q * (log_p + likelihood - log_q)), rel=1e-9)
    second_moment = integral(np.exp(2 * (log_p + likelihood - model.log_p(x[None])) - log_q))
    assert model.chi_square(x[None])[0] == pytest.approx(second_moment - 1, rel=1e-9, abs=1e-9)
    gap = model.elbo(x[None])[0] + model.log_p(x[None])[0]
    assert gap == pytest.approx(0.0, abs=1e-12) if (shift, scale) == (0.0, 1.0) else gap > 0.01


def test_weights_of_a_narrow_posterior_have_no_variance() -> None:
    assert np.isfinite(chain().perturbed(0.0, 0.51).chi_square(TEXTS)).all()
    assert np.isinf(chain().perturbed(0.0, 0.49).chi_square(TEXTS)).all()


def test_information_and_variances_are_those_of_many_draws() -> None:
    """From half a million joint draws of text and z, MI by the entropies of Gaussians with the drawn covariances."""
    model, rng, n = chain().perturbed(0.2, 1.2), np.random.default_rng(0), 500_000
    x = model.draw(n, rng)
    np.testing.assert_allclose(np.cov(x.T), model.text_covariance, atol=0.01)
    drift = x @ model.slopes.T + model.offset
    noise = rng.normal(size=(n, 2)) * model.variance**0.5
    first = drift[:, 0] + noise[:, 0]
    conditional = np.stack([drift[:, 0], drift[:, 1] + model.weights[1, 0] * first], axis=1)
    averaged = np.stack([drift[:, 0], drift[:, 1] + model.weights[1, 0] * drift[:, 0]], axis=1)
    # A variance from n draws has a relative standard error of 0.2 %.
    np.testing.assert_allclose(averaged.var(axis=0), model.mean_variances, rtol=1e-2)
    np.testing.assert_allclose(conditional.var(axis=0), model.conditional_mean_variances, rtol=1e-2)
    drawn = np.linalg.slogdet(np.cov((conditional + noise).T))[1] - np.log(model.variance).sum()
    assert model.mutual_information == pytest.approx(drawn / 2, abs=1e-2)


def test_a_collapsed_posterior_is_the_prior_and_knows_nothing() -> None:
    model = chain().collapsed()
    np.testing.assert_allclose(model.kl(TEXTS), 0.0, atol=1e-12)
    assert model.mutual_information == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(model.mean_variances, [0.0, 0.0])
    np.testing.assert_allclose(model.conditional_mean_variances, [0.0, 0.8**2], atol=1e-12)


def test_a_group_must_be_diagonal_given_the_text() -> None:
    model = chain()
    arguments = (np.zeros((2, 2)), model.prior_variance, model.loadings, model.noise)
    with pytest.raises(BenchError, match="dimensions of a group depend on each other given x"):
        LinearGaussian.with_exact_posterior((2,), *arguments)
    orthogonal = np.linalg.qr(model.loadings)[0]
    assert LinearGaussian.with_exact_posterior((2,), np.zeros((2, 2)), np.ones(2), orthogonal, 1.0).groups == (2,)


class TestSystem:
    def test_texts_read_back_as_their_numbers(self) -> None:
        texts = spell(TEXTS)
        tokenizer = number_tokenizer(texts)
        ids = tokenize([Example(text) for text in texts], tokenizer, 5)
        assert ids.predicted.tolist() == [4.0] * 3  # three numbers and the end
        numbers = LinearGaussianSystem(chain(), tokenizer).numbers(ids.batch([2, 0, 1]))
        np.testing.assert_array_equal(numbers.numpy(), TEXTS[[2, 0, 1]])

    def test_terms_are_the_densities(self) -> None:
        model = replace(chain().perturbed(0.2, 0.8), groups=(1, 1))
        tokenizer = number_tokenizer(spell(TEXTS))
        system = LinearGaussianSystem(model, tokenizer)
        batch = tokenize([Example(text) for text in spell(TEXTS)], tokenizer, 5).batch(range(3))
        posterior = system.encode(batch)
        path = posterior.sample(4, torch.Generator().manual_seed(0))
        z = torch.cat(path.z, dim=-1).numpy()
        for text, x in enumerate(TEXTS):
            mean = model.slopes @ x + model.offset + z[text] @ model.weights.T
            log_q = norm.logpdf(z[text], mean, model.variance**0.5)
            log_p = norm.logpdf(z[text], z[text] @ model.prior_weights.T, model.prior_variance**0.5)
            log_x = norm.logpdf(x, z[text] @ model.loadings.T, model.noise**0.5).sum(axis=-1)
            np.testing.assert_allclose(path.log_q[text], log_q, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(path.log_p[text], log_p, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(torch.cat(path.mean, dim=-1)[text], mean, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(system.log_likelihood(batch, path)[text], log_x, rtol=1e-12)
        np.testing.assert_allclose(posterior.log_prob(path), path.log_q, rtol=1e-12, atol=1e-12)
        shared = posterior.log_prob(path.shared())[1, :4]  # the first text's samples under the second text's posterior
        mean = model.slopes @ TEXTS[1] + model.offset + z[0] @ model.weights.T
        np.testing.assert_allclose(shared, norm.logpdf(z[0], mean, model.variance**0.5), rtol=1e-12)

    def test_the_prior_is_drawn_from(self) -> None:
        tokenizer = number_tokenizer(spell(TEXTS))
        path = LinearGaussianSystem(chain(), tokenizer).sample_prior(50_000, None, torch.Generator().manual_seed(0))
        # Covariances of 50,000 draws: standard errors below 0.01.
        np.testing.assert_allclose(np.cov(torch.cat(path.z, dim=-1)[0].T), chain().prior_covariance, atol=0.05)
        assert torch.equal(path.log_q, path.log_p)
        assert not path.kl.any()

    def test_it_generates_nothing(self) -> None:
        tokenizer = number_tokenizer(spell(TEXTS))
        system = LinearGaussianSystem(chain(), tokenizer)
        path = system.sample_prior(1, None, torch.Generator())
        with pytest.raises(BenchError, match="generates no tokens"):
            system.generate(path, None, DecodingSpec(), 0)

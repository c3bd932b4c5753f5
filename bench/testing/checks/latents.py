"""Posteriors, priors and their samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.interface import LatentPath
from bench.testing.check import check
from bench.testing.expect import Inconclusive, expect, expect_close, expect_shape
from bench.testing.samples import generator, named_tensors
from bench.testing.system_under_test import TOLERANCE, SystemUnderTest

SAMPLES = 10_000
ERRORS = 5.0
"""Tolerance of a mean of samples in standard errors; a correct system fails with probability below 1e-6."""


@check(
    "Check the shapes that `sample`, `sample_prior` and `log_likelihood` return: B texts x n samples x G groups, one"
    " number per group, no sum over groups, no mean over samples."
)
@torch.no_grad()
def shapes(tested: SystemUnderTest) -> None:
    """Samples and their terms are unreduced, of the shapes of the contract, and finite."""
    system, batch, n = tested.system(), tested.batch(), 5
    prior_rows = len(batch) if tested.setting.conditional else 1
    samples = {
        "posterior": (len(batch), system.encode(batch).sample(n, generator())),
        "prior": (prior_rows, system.sample_prior(n, batch.condition, generator())),
    }
    for source, (rows, path) in samples.items():
        counts = (len(path.z), len(path.mean))
        expect(counts == (len(system.groups),) * 2, f"z and mean of {len(system.groups)} groups", f"{counts}")
        for group, size in enumerate(system.groups):
            expect_shape(f"z[{group}] of the {source}", path.z[group], (rows, n, size))
            expect_shape(f"mean[{group}] of the {source}", path.mean[group], (rows, n, size))
        for term in ("log_q", "log_p", "kl"):
            expect_shape(f"{term} of the {source}", getattr(path, term), (rows, n, len(system.groups)))
    log_likelihood = system.log_likelihood(batch, samples["posterior"][1])
    expect_shape("log_likelihood", log_likelihood, (len(batch), n))


@check(
    "Check the `kl` of `sample`: KL(q(z_g | z_<g, x, c) || p(z_g | z_<g, c)) in nats, with the sign of"
    " E_q[log q - log p], summed over the dimensions of the group, never averaged or weighted; `log_q` and `log_p` are"
    " the log densities of the same two distributions."
)
@torch.no_grad()
def analytic_kl(tested: SystemUnderTest) -> None:
    """The KL of each group is the expected log q - log p, given its ancestors."""
    path = tested.system().encode(tested.batch()).sample(SAMPLES, generator())
    _expect_mean_zero("log q - log p - kl", (path.log_q - path.log_p - path.kl).double())


@check("Check the `kl` of `sample`: KL is never negative, and zero only where the posterior equals the prior.")
@torch.no_grad()
def kl_is_not_negative(tested: SystemUnderTest) -> None:
    """KL is never negative, and above zero where posterior and prior differ."""
    with tested.in_precision(torch.float64) as system:
        kl = system.encode(tested.batch()).sample(SAMPLES, generator()).kl
    lowest = float(kl.min()) if kl.numel() else 0.0
    expect(lowest >= -TOLERANCE, "no KL below 0", f"{lowest:.4g} nats")
    for group, mean in enumerate(kl.mean(dim=(0, 1)).tolist()):
        expect(mean > 0.01, f"kl[..., {group}] above 0.01 nats for random weights", f"{mean:.4g} nats")


@check("Check `kl_dimensions`: leave it None, or give the KL of each dimension of the group, in nats.")
@torch.no_grad()
def kl_of_dimensions(tested: SystemUnderTest) -> None:
    """KL per dimension, if given, sums to the KL of the group."""
    with tested.in_precision(torch.float64) as system:
        path = system.encode(tested.batch()).sample(5, generator())
    for group, terms in enumerate(path.kl_dimensions or ()):
        expect_shape(f"kl_dimensions[{group}]", terms, path.z[group].shape)
        what = f"kl_dimensions[{group}] that sum to the kl of the group"
        expect_close(what, terms.sum(-1), path.kl[..., group], AXES[:2], TOLERANCE, TOLERANCE)


@check("Check the `mean` of `sample`: the mean of q(z_g | z_<g, x, c), given the sampled ancestors.")
@torch.no_grad()
def means_of_samples(tested: SystemUnderTest) -> None:
    """The mean of each group is the mean of its samples, given their ancestors."""
    path = tested.system().encode(tested.batch()).sample(SAMPLES, generator())
    for z, mean in zip(path.z, path.mean, strict=True):
        _expect_mean_zero("z - mean", (z - mean).double())
    for mean in path.mean[:1]:
        spread = float((mean - mean[:, :1]).abs().max())
        expect(
            spread == 0,
            "one mean of the first group, which has no ancestors",
            f"means {spread:.3g} apart",
        )


@check("Check `log_prob` of the Posterior: the same log density that `sample` returns as `log_q`.")
@torch.no_grad()
def own_density(tested: SystemUnderTest) -> None:
    """log_prob of a posterior's own samples equals their log_q."""
    with tested.in_precision(torch.float64) as system:
        posterior = system.encode(tested.batch())
        path = posterior.sample(5, generator())
        again = posterior.log_prob(path)
    expect_close("log_prob of own samples equal to their log_q", again, path.log_q, AXES, TOLERANCE, TOLERANCE)


@check(
    "Check `log_prob` of the Posterior: if the first axis of `path.z` has size 1, every text scores the same samples."
    " The aggregated posterior, and so mutual information, needs this."
)
@torch.no_grad()
def shared_samples(tested: SystemUnderTest) -> None:
    """log_prob scores the samples of all texts under the posterior of each text."""
    n, batch = 5, tested.batch()
    with tested.in_precision(torch.float64) as system:
        posterior = system.encode(batch)
        path = posterior.sample(n, generator())
        under_all = posterior.log_prob(path.shared())
    expect_shape("log_prob of shared samples", under_all, (len(batch), len(batch) * n, len(system.groups)))
    own = torch.stack([under_all[row, n * row : n * (row + 1)] for row in tested.rows])
    expect_close("log_prob of shared samples equal to their log_q", own, path.log_q, AXES, TOLERANCE, TOLERANCE)


@check(
    "Check `path_of`: it keeps the values that it is given, and computes their terms along the groups with"
    " p(z_g | z_<g, c), as `sample` computes log p; log_q equals log_p, and the KL is zero."
)
@torch.no_grad()
def given_values(tested: SystemUnderTest) -> None:
    """Given latent values have the prior's terms and decode as samples with these values do."""
    batch = tested.batch()
    with tested.in_precision(torch.float64) as system:
        if not system.groups:
            return
        path = system.encode(batch).sample(3, generator())
        try:
            given = system.path_of(path.z, batch.condition)
        except BenchError as error:
            raise Inconclusive(str(error)) from error
        expect(all(map(torch.equal, given.z, path.z)), "the values of z that were given", "other values")
        expect_close("log_p of given values", given.log_p, path.log_p, AXES, TOLERANCE, TOLERANCE)
        expect(torch.equal(given.log_q, given.log_p), "log_q equal to log_p of given values", "different values")
        expect(not given.kl.any(), "a KL of zero of given values", f"a sum of {float(given.kl.abs().sum()):.4g} nats")
        decoded, expected = (system.log_likelihood(batch, each) for each in (given, path))
        expect_close("log_likelihood of given values", decoded, expected, AXES[:2], TOLERANCE, TOLERANCE)


@check("Check `sample_prior`: its samples are drawn from p, so `log_q` equals `log_p` and `kl` is zero.")
@torch.no_grad()
def prior_of_itself(tested: SystemUnderTest) -> None:
    """Samples of the prior have log_q = log_p and a KL of zero."""
    path = tested.system().sample_prior(5, tested.batch().condition, generator())
    expect(torch.equal(path.log_q, path.log_p), "log_q equal to log_p in samples of the prior", "different values")
    expect(not path.kl.any(), "a KL of zero in samples of the prior", f"a sum of {float(path.kl.abs().sum()):.4g} nats")


@check(
    "Compare the mean and the variance from which `sample_prior` draws z with those in the density `log_p`, which `kl`"
    " must use too."
)
@torch.no_grad()
def prior_moments(tested: SystemUnderTest) -> None:
    """Prior samples have the mean, the variance and the log density of p(z).

    The posterior's samples give z and log p(z). If log p is a quadratic function of z, its coefficients give mean and
    variance. If not, E_p f(z) = E_q p(z) / q(z) f(z), for f = 1, z, z^2 and log p. Each of the means of 20,000 samples
    lies within 6 standard errors.
    """
    n, batch = 20_000, tested.batch()
    with tested.in_precision(torch.float64) as system:
        # The smaller the parameters, the closer q is to p, and the less the weights p / q vary.
        for factor in (0.25, 0.4, 0.5, 0.4):
            for parameter in system.parameters():
                parameter.mul_(factor)
            prior = system.sample_prior(n, batch.condition, generator(1))
            path = system.encode(batch).sample(n, generator(2))
            weights = (path.log_p - path.log_q).cumsum(-1).exp()
            if precise := bool((weights.mean(1).square() >= 0.5 * weights.square().mean(1)).all()):
                break
    for group, size in enumerate(system.groups):
        names = ["1", *[f"z_{d}" for d in range(size)], *[f"z_{d}^2" for d in range(size)], "|z|^2", "log p"]
        drawn, weighted = _moments(prior, group), _moments(path, group)
        actual, errors = drawn.mean(1), drawn.var(1) / n
        expected = _gaussian_moments(weighted)
        if expected is None and not precise:
            raise Inconclusive("importance weights vary too much to compare the two estimates")
        if expected is None:
            weighted = weighted * weights[..., group, None]
            expected, errors = weighted.mean(1), errors + weighted.var(1) / n
        excess = (actual - expected).abs() - 6 * errors.sqrt() - 1e-6
        row, column = (int(place) for place in torch.unravel_index(excess.argmax(), excess.shape))
        what = (
            f"{float(expected[row, column]):.4g} as the mean of {names[column]} of z[{group}], by log p of text {row}"
        )
        seen = f"{float(actual[min(row, len(actual) - 1), column]):.4g} in {n} prior samples"
        expect(bool((excess <= 0).all()), what, seen)


@check(
    "This check uses prior samples, posterior samples, both densities and the likelihood. If no other check fails,"
    " check that `log_p` is the density of `sample_prior` and that both use the condition."
)
@torch.no_grad()
def one_probability(tested: SystemUnderTest) -> None:
    """Prior samples and posterior samples give the same estimate of a text's probability.

    E_p p(x | z) = E_q p(x | z) p(z) / q(z | x): both sides are means of 4,000 weights; their logs agree within 5
    standard errors.
    """
    n, batch = 4000, tested.batch(tested.rows[-1:])  # the shortest text has the most precise estimate
    # Smaller parameters make importance weights vary less, but z matter less: take the largest that work.
    for scale in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15):
        system = tested.system()
        for parameter in system.parameters():
            parameter.mul_(scale)
        prior, path = (
            system.sample_prior(n, batch.condition, generator(1)),
            system.encode(batch).sample(n, generator(2)),
        )
        first, first_error = _log_mean_exp(system.log_likelihood(batch, prior))
        ratio = (path.log_p - path.log_q).double().sum(-1)
        second, second_error = _log_mean_exp(system.log_likelihood(batch, path) + ratio)
        error = math.hypot(first_error, second_error)
        if error < 0.03:
            close = abs(first - second) <= ERRORS * error + 1e-6
            expect(
                close,
                f"{first:.6g} nats, as from prior samples",
                f"{second:.6g} nats",
            )
            return
    raise Inconclusive("importance weights vary too much to compare the two estimates")


@check(
    "Check `encode`: it must do all work that depends on the text, once; the Posterior stores what its `sample` and"
    " `log_prob` need."
)
@torch.no_grad()
def one_encoder_pass(tested: SystemUnderTest) -> None:
    """The encoder runs once per text, however often its posterior is used."""
    system, batch = tested.system(), tested.batch()
    passes: list[Any] = []
    for module in system.modules():
        if callable(encode := getattr(module, "encode", None)) and module is not system:
            module.encode = _count_calls(encode, passes)  # type: ignore[assignment]  # of one instance
    posterior = system.encode(batch)
    in_encode = len(passes)
    # One pass for the texts, one for their conditions.
    most = 1 + tested.setting.conditional
    expect(in_encode <= most, f"at most {most} encoder passes in `encode`", f"{in_encode}")
    first = posterior.sample(3, generator())
    for tokens in (batch, batch.encoder):
        if tokens is not None:
            tokens.ids.fill_(1)
    again = posterior.sample(3, generator())
    posterior.log_prob(first.shared())
    expect(len(passes) == in_encode, "no encoder pass after `encode`", f"{len(passes) - in_encode}")
    _expect_same("samples that do not depend on the ids of the batch after `encode`", first, again)


@check(
    "Check where `sample` and `sample_prior` draw noise: only from their `generator` argument (one, or one per text),"
    " as `bench.latents.draw_noise` does."
)
@torch.no_grad()
def seeded_samples(tested: SystemUnderTest) -> None:
    """The generator alone determines the samples."""
    system, batch = tested.system(), tested.batch()
    before = torch.get_rng_state()
    draws: dict[str, Callable[[torch.Generator], LatentPath]] = {
        "posterior": lambda generator: system.encode(batch).sample(3, generator),
        "prior": lambda generator: system.sample_prior(3, batch.condition, generator),
    }
    for source, draw in draws.items():
        first, again, other = (draw(generator(seed)) for seed in (0, 0, 1))
        _expect_same(f"the same samples of the {source} for the same seed", first, again)
        for group, (z, other_z) in enumerate(zip(first.z, other.z, strict=True)):
            differ = not torch.equal(z, other_z)
            expect(differ, f"a different z[{group}] of the {source} for a different seed", "the same")
    expect(torch.equal(torch.get_rng_state(), before), "an unchanged global random state", "draws from it")


@check(
    "Check that `inject` or the decoder passes z of every group on to the output. A system without latents has"
    " groups = ()."
)
@torch.no_grad()
def latents_matter(tested: SystemUnderTest) -> None:
    """Every latent group changes the likelihood of every text."""
    system, batch = tested.system(), tested.batch()
    path = system.encode(batch).sample(1, generator())
    before = system.log_likelihood(batch, path)
    for group in range(len(system.groups)):
        z = tuple(samples + (number == group) for number, samples in enumerate(path.z))
        least = float((system.log_likelihood(batch, replace(path, z=z)) - before).abs().min())
        expect(least > 1e-4, f"a different likelihood after adding 1 to z[{group}]", f"a change of {least:.2g} nats")


AXES = ("text", "sample", "group")


def _moments(path: LatentPath, group: int) -> Tensor:
    """Returns 1, z, z^2, |z|^2 and log p of the samples of a group (B x n x 2D + 3)."""
    z, log_p = path.z[group].double(), path.log_p[..., group].double()
    square = z.square()
    return torch.cat([torch.ones_like(z[..., :1]), z, square, square.sum(-1, True), log_p[..., None]], dim=-1)


def _gaussian_moments(columns: Tensor) -> Tensor | None:
    """Returns the means of the columns of ``_moments`` under a diagonal Gaussian (B x 2D + 3).

    Its coefficients are fitted to log p. Returns None if log p is not a quadratic function of z, or has no maximum.
    """
    size = (columns.shape[-1] - 3) // 2
    quadratic, log_p = columns[..., : 2 * size + 1], columns[..., -1:]
    fit = torch.linalg.lstsq(quadratic[:, :1000], log_p[:, :1000]).solution
    curvature = fit[:, size + 1 :, 0]
    if float((quadratic @ fit - log_p).abs().max()) > 1e-6 or bool((curvature >= 0).any()):
        return None
    variance = -0.5 / curvature
    mean = fit[:, 1 : size + 1, 0] * variance
    square = mean.square() + variance
    first = torch.cat([torch.ones_like(mean[:, :1]), mean, square], dim=-1)
    return torch.cat([first, square.sum(-1, True), (first[:, None] @ fit)[:, 0]], dim=-1)


def _expect_mean_zero(what: str, samples: Tensor) -> None:
    """Expects means over the second axis within 5 standard errors of zero."""
    means = samples.mean(dim=1)
    errors = samples.square().mean(dim=1).sqrt() / math.sqrt(samples.shape[1])
    excess = means.abs() - ERRORS * errors
    if excess.numel():
        text, place = torch.unravel_index(excess.argmax(), excess.shape)
        seen = f"{float(means[text, place]):.4g} ± {float(errors[text, place]):.2g}"
        expect(bool((excess <= 0).all()), f"a mean of {what} of 0 over {samples.shape[1]} samples", seen)


def _expect_same(what: str, first: LatentPath, other: LatentPath) -> None:
    both = zip(named_tensors(first).items(), named_tensors(other).values(), strict=True)
    differing = [name for (name, tensor), same in both if not torch.equal(tensor, same)]
    expect(not differing, what, f"different {', '.join(differing)}")


def _log_mean_exp(logs: Tensor) -> tuple[float, float]:
    """Returns the log of the mean of exp, and its standard error by the delta method."""
    weights = (logs - logs.max()).exp()
    mean = float(weights.mean())
    return float(logs.max()) + math.log(mean), float(weights.std()) / mean / math.sqrt(weights.numel())


def _count_calls(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return counted

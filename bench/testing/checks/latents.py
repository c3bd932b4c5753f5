"""Posteriors, priors and the samples that are drawn from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.interface import LatentPath
from bench.testing.check import check
from bench.testing.expect import NotChecked, expect, expect_close, expect_shape
from bench.testing.paths import stream, tensors
from bench.testing.subject import DIGITS, Subject

SAMPLES = 10_000
ERRORS = 5.0
"""Standard errors within which a mean of samples must lie: a correct system misses by chance below 1e-6."""


@check(
    "Look at the shapes that `sample`, `sample_prior` and `log_likelihood` return: B texts x n samples x G groups, one"
    " number per group, nothing summed over groups or averaged over samples."
)
@torch.no_grad()
def shapes(subject: Subject) -> None:
    """Samples and their terms have the contract's shapes, unreduced, and are finite."""
    system, batch, n = subject.system(), subject.batch(), 5
    prior_rows = len(batch) if subject.setting.conditional else 1
    samples = {
        "posterior": (len(batch), system.encode(batch).sample(n, stream())),
        "prior": (prior_rows, system.sample_prior(n, batch.condition, stream())),
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
    "Look at the `kl` of your `sample`: KL(q(z_g | z_<g, x, c) || p(z_g | z_<g, c)) in nats, with the sign of"
    " E_q[log q - log p], summed over the dimensions of the group, never averaged or weighted; `log_q` and `log_p` are"
    " the densities of the same two distributions."
)
@torch.no_grad()
def analytic_kl(subject: Subject) -> None:
    """Each group's KL is the expected log q - log p, given its ancestors."""
    path = subject.system().encode(subject.batch()).sample(SAMPLES, stream())
    _expect_mean_zero("log q - log p - kl", (path.log_q - path.log_p - path.kl).double())


@check("Look at the `kl` of your `sample`: a divergence is never negative, and zero only where posterior is prior.")
@torch.no_grad()
def kl_is_not_negative(subject: Subject) -> None:
    """No KL is negative, nor is it zero where posterior and prior differ."""
    kl = subject.system().encode(subject.batch()).sample(SAMPLES, stream()).kl
    lowest = float(kl.min()) if kl.numel() else 0.0
    expect(lowest >= -1e-6, "no KL below 0", f"{lowest:.4g} nats")
    for group, mean in enumerate(kl.mean(dim=(0, 1)).tolist()):
        expect(mean > 0.01, f"kl[..., {group}] above 0.01 nats for random weights", f"{mean:.4g} nats")


@check("Look at `kl_dimensions`: leave it out, or give each dimension's part of the group's `kl`, in nats.")
@torch.no_grad()
def kl_of_dimensions(subject: Subject) -> None:
    """The KL terms of a group's dimensions, where it has any, add up to its KL."""
    with subject.in_precision(torch.float64) as system:
        path = system.encode(subject.batch()).sample(5, stream())
    for group, terms in enumerate(path.kl_dimensions or ()):
        expect_shape(f"kl_dimensions[{group}]", terms, path.z[group].shape)
        what = f"kl_dimensions[{group}] that add up to the group's kl"
        expect_close(what, terms.sum(-1), path.kl[..., group], AXES[:2], DIGITS, DIGITS)


@check("Look at the `mean` of your `sample`: that of q(z_g | z_<g, x, c), given the ancestors that were sampled.")
@torch.no_grad()
def means_of_samples(subject: Subject) -> None:
    """Each group's mean is that of its samples, given their ancestors."""
    path = subject.system().encode(subject.batch()).sample(SAMPLES, stream())
    for z, mean in zip(path.z, path.mean, strict=True):
        _expect_mean_zero("z - mean", (z - mean).double())
    for mean in path.mean[:1]:
        spread = float((mean - mean[:, :1]).abs().max())
        expect(spread == 0, "one mean of the first group, which has no ancestors", f"means {spread:.3g} apart")


@check("Look at `log_prob` of your Posterior: the density that `sample` gives as `log_q`, of the same distribution.")
@torch.no_grad()
def own_density(subject: Subject) -> None:
    """A posterior scores its own samples as it did when it drew them."""
    with subject.in_precision(torch.float64) as system:
        posterior = system.encode(subject.batch())
        path = posterior.sample(5, stream())
        again = posterior.log_prob(path)
    expect_close("log_prob of own samples equal to their log_q", again, path.log_q, AXES, DIGITS, DIGITS)


@check(
    "Look at `log_prob` of your Posterior: `path.z` may have a first axis of 1, then every text scores the same"
    " samples; the aggregated posterior behind mutual information needs it."
)
@torch.no_grad()
def shared_samples(subject: Subject) -> None:
    """Samples of all texts at once are scored under each text's posterior."""
    n, batch = 5, subject.batch()
    with subject.in_precision(torch.float64) as system:
        posterior = system.encode(batch)
        path = posterior.sample(n, stream())
        under_all = posterior.log_prob(path.shared())
    expect_shape("log_prob of shared samples", under_all, (len(batch), len(batch) * n, len(system.groups)))
    own = torch.stack([under_all[row, n * row : n * (row + 1)] for row in subject.rows])
    expect_close("log_prob of shared samples equal to their log_q", own, path.log_q, AXES, DIGITS, DIGITS)


@check("Look at `sample_prior`: its samples come from p itself, so `log_q` is `log_p`, and `kl` is zero.")
@torch.no_grad()
def prior_of_itself(subject: Subject) -> None:
    """Samples of the prior have log q = log p, and no KL."""
    path = subject.system().sample_prior(5, subject.batch().condition, stream())
    expect(torch.equal(path.log_q, path.log_p), "log_q equal to log_p in samples of the prior", "other numbers")
    expect(not path.kl.any(), "no KL in samples of the prior", f"up to {float(path.kl.abs().sum()):.4g} nats")


@check(
    "Prior samples, posterior samples, both densities and the likelihood all enter: if no other check fails, look for a"
    " `log_p` that is not the density of `sample_prior`, or a condition that only one of the two sees."
)
@torch.no_grad()
def one_probability(subject: Subject) -> None:
    """Samples of prior and posterior agree on a text's probability.

    E_p p(x | z) = E_q p(x | z) p(z) / q(z | x): both sides are means of 4,000 weights, and their logs agree within 5
    standard errors.
    """
    n, batch = 4000, subject.batch(subject.rows[-1:])  # the shortest text: a rare event makes a poor estimate
    # The tamer the system, the less the importance weights vary, but the less z matters: as wild as can be estimated.
    for scale in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15):
        system = subject.system()
        for parameter in system.parameters():
            parameter.mul_(scale)
        prior, path = system.sample_prior(n, batch.condition, stream(1)), system.encode(batch).sample(n, stream(2))
        first, first_error = _log_mean_exp(system.log_likelihood(batch, prior))
        ratio = (path.log_p - path.log_q).double().sum(-1)
        second, second_error = _log_mean_exp(system.log_likelihood(batch, path) + ratio)
        error = math.hypot(first_error, second_error)
        if error < 0.03:
            close = abs(first - second) <= ERRORS * error + 1e-6
            expect(close, f"{first:.6g} nats by prior samples also by posterior samples", f"{second:.6g} nats")
            return
    raise NotChecked("importance weights vary too much to compare the two estimates")


@check(
    "Look at `encode`: all work that depends on the text belongs there, done once; what `sample` and `log_prob` of your"
    " Posterior need is kept in it."
)
@torch.no_grad()
def one_encoder_pass(subject: Subject) -> None:
    """The encoder runs once, however often its posterior is used."""
    system, batch = subject.system(), subject.batch()
    passes: list[Any] = []
    for module in system.modules():
        if callable(encode := getattr(module, "encode", None)) and module is not system:
            module.encode = _counted(encode, passes)  # type: ignore[assignment]  # an instance's own
    posterior = system.encode(batch)
    in_encode = len(passes)
    # One pass for the texts, one for their conditions.
    most = 1 + subject.setting.conditional
    expect(in_encode <= most, f"at most {most} passes of the encoder in `encode`", f"{in_encode}")
    first = posterior.sample(3, stream())
    for read in (batch, batch.encoder):
        if read is not None:
            read.ids.fill_(1)
    again = posterior.sample(3, stream())
    posterior.log_prob(first.shared())
    expect(len(passes) == in_encode, "no pass of the encoder after `encode`", f"{len(passes) - in_encode}")
    _expect_same("samples that no longer depend on the batch's ids", first, again)


@check(
    "Look at where `sample` and `sample_prior` draw noise: all of it from the generator they are handed (one, or one"
    " per text), as `bench.latents.draw_noise` does."
)
@torch.no_grad()
def seeded_samples(subject: Subject) -> None:
    """The generator decides the samples, and nothing else does."""
    system, batch = subject.system(), subject.batch()
    before = torch.get_rng_state()
    draws: dict[str, Callable[[torch.Generator], LatentPath]] = {
        "posterior": lambda generator: system.encode(batch).sample(3, generator),
        "prior": lambda generator: system.sample_prior(3, batch.condition, generator),
    }
    for source, draw in draws.items():
        first, again, other = (draw(stream(seed)) for seed in (0, 0, 1))
        _expect_same(f"the same samples of the {source} for the same seed", first, again)
        for group, (one, another) in enumerate(zip(first.z, other.z, strict=True)):
            differ = not torch.equal(one, another)
            expect(differ, f"another z[{group}] of the {source} for another seed", "the same")
    expect(torch.equal(torch.get_rng_state(), before), "the global random state left alone", "draws from it")


@check(
    "Look at `z`: what `inject` or your decoder makes of it must reach the output, for every group. A system without"
    " latents has groups = ()."
)
@torch.no_grad()
def latents_matter(subject: Subject) -> None:
    """Every group of latents moves the likelihood of every text."""
    system, batch = subject.system(), subject.batch()
    path = system.encode(batch).sample(1, stream())
    before = system.log_likelihood(batch, path)
    for group in range(len(system.groups)):
        z = tuple(one + (number == group) for number, one in enumerate(path.z))
        least = float((system.log_likelihood(batch, replace(path, z=z)) - before).abs().min())
        expect(least > 1e-4, f"another likelihood once z[{group}] is moved by 1", f"{least:.2g} nats")


AXES = ("text", "sample", "group")


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
    both = zip(tensors(first).items(), tensors(other).values(), strict=True)
    differing = [name for (name, one), another in both if not torch.equal(one, another)]
    expect(not differing, what, f"other {', '.join(differing)}")


def _log_mean_exp(logs: Tensor) -> tuple[float, float]:
    """Returns the log of the mean of exp, and its standard error by the delta method."""
    weights = (logs - logs.max()).exp()
    mean = float(weights.mean())
    return float(logs.max()) + math.log(mean), float(weights.std()) / mean / math.sqrt(weights.numel())


def _counted(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return counted

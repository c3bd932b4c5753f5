"""What every registered system owes the harness, whatever it is made of.

One network serves as example: what a system says about densities, divergences and likelihoods must hold together for
any weights, trained or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from bench.harness.data import TokenizedTexts
from bench.harness.evaluate import score_texts
from bench.harness.plan import load_scale, run_spec
from bench.harness.train import load_weights, weights
from bench.interface import Batch, LatentPath, Posterior, System
from bench.metrics.latent import MutualInformation
from bench.metrics.likelihood import ELBO, KL, Reconstruction, ScoredTexts, importance_bound
from bench.registry import SYSTEMS
from bench.spec import DecodingSpec, ScoringSpec, TrainingSpec

Make = Callable[..., System]

# What of each system its own equations leave without effect. DELLA's first state z_{<1} is tanh(W_hh 0 + W_ih 0): of a
# network without biases nothing that multiplies it, or the state itself in the next layer, can ever learn.
WITHOUT_BIASES = {
    "hierarchy.recurrence_hh.0.weight",
    "hierarchy.recurrence_ih.0.weight",
    "hierarchy.prior.0.weight",
    "hierarchy.recurrence_hh.1.weight",
}
WITHOUT_EFFECT = {
    "della": WITHOUT_BIASES,
    "della-ltp": WITHOUT_BIASES,
    "della-2022": {"hierarchy.recurrence_hh.0.weight", "hierarchy.recurrence_ih.0.weight"},
}


@dataclass(frozen=True)
class Setting:
    """A backbone with or without conditions."""

    kind: str = "decoder-only"
    conditional: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{' conditional' if self.conditional else ''}"


SETTINGS = (Setting(), Setting(conditional=True), Setting("encoder-decoder", conditional=True))
each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


@pytest.fixture(params=SYSTEMS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(make_system: Make, name: str) -> Make:
    """Makes the system of the test, with latent variables of four dimensions if it has any."""
    sizes = {"latent_size": 4} if "latent_size" in SYSTEMS.get(name).Config.model_fields else {}

    def make(setting: Setting = SETTINGS[0], seed: int = 0) -> System:
        return make_system(name, seed=seed, kind=setting.kind, conditional=setting.conditional, **sizes)

    return make


@pytest.fixture
def some(batch: Batch, pairs: Batch) -> Callable[[Setting], Batch]:
    return lambda setting: pairs if setting.conditional else batch


@pytest.fixture(scope="module")
def texts(batch: Batch) -> TokenizedTexts:
    ids = tuple(texts_of(batch))
    counts = np.array([len(one) for one in ids], dtype=np.float64)
    return TokenizedTexts(ids, words=counts, bytes=counts, cut=0)


def texts_of(batch: Batch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def streams(n: int) -> list[torch.Generator]:
    return [stream(seed) for seed in range(n)]


def of_text(path: LatentPath, row: int) -> LatentPath:
    """The samples of one text."""
    return LatentPath(
        tuple(z[[row]] for z in path.z),
        tuple(mean[[row]] for mean in path.mean),
        *(term[[row]] for term in (path.log_q, path.log_p, path.kl)),
    )


def tensors(path: LatentPath) -> list[Tensor]:
    return [*path.z, *path.mean, path.log_q, path.log_p, path.kl]


class TestPaths:
    @each_setting
    @torch.no_grad()
    def test_shapes(self, make: Make, some: Callable[[Setting], Batch], setting: Setting) -> None:
        system, batch, n = make(setting), some(setting), 5
        path = system.encode(batch).sample(n, stream())
        groups = len(system.groups)
        assert tuple(z.shape for z in path.z) == tuple((len(batch), n, size) for size in system.groups)
        assert tuple(mean.shape for mean in path.mean) == tuple(z.shape for z in path.z)
        assert path.log_q.shape == path.log_p.shape == path.kl.shape == (len(batch), n, groups)
        assert system.log_likelihood(batch, path).shape == (len(batch), n)
        prior = system.sample_prior(n, batch.condition, stream())
        rows = len(batch) if setting.conditional else 1
        assert tuple(z.shape for z in prior.z) == tuple((rows, n, size) for size in system.groups)
        assert prior.log_q.shape == prior.log_p.shape == prior.kl.shape == (rows, n, groups)
        assert all(bool(tensor.isfinite().all()) for tensor in (*tensors(path), *tensors(prior)))

    @each_setting
    @torch.no_grad()
    def test_analytic_kl_is_the_expected_log_ratio(
        self, make: Make, some: Callable[[Setting], Batch], setting: Setting
    ) -> None:
        """Given its ancestors, each group's log q - log p has the mean that ``kl`` says.

        The differences of 10,000 samples average to zero within 5 standard errors (a chance below 1e-6 per group).
        """
        system = make(setting)
        path = system.encode(some(setting)).sample(10_000, stream())
        difference = (path.log_q - path.log_p - path.kl).double()
        error = 5 * difference.square().mean(dim=1).sqrt() / math.sqrt(path.n)
        assert bool((difference.mean(dim=1).abs() <= error).all())
        assert bool((path.kl >= -1e-6).all())
        assert bool((path.kl.mean(dim=(0, 1)) > 0.01).all())

    @each_setting
    @torch.no_grad()
    def test_a_posterior_scores_its_own_path_as_it_said(
        self, make: Make, some: Callable[[Setting], Batch], setting: Setting
    ) -> None:
        batch = some(setting)
        posterior = make(setting).encode(batch)
        path = posterior.sample(5, stream())
        # float32; densities of up to 30 nats are sums of a few terms.
        torch.testing.assert_close(posterior.log_prob(path), path.log_q, rtol=1e-5, atol=1e-5)
        under_all = posterior.log_prob(path.shared())
        assert under_all.shape == (len(batch), len(batch) * 5, path.log_q.shape[-1])
        for row in range(len(batch)):
            own = under_all[row, 5 * row : 5 * (row + 1)]
            torch.testing.assert_close(own, path.log_q[row], rtol=1e-5, atol=1e-5)

    @each_setting
    @torch.no_grad()
    def test_the_prior_scores_itself(self, make: Make, some: Callable[[Setting], Batch], setting: Setting) -> None:
        path = make(setting).sample_prior(5, some(setting).condition, stream())
        assert torch.equal(path.log_q, path.log_p)
        assert not path.kl.any()

    @each_setting
    @torch.no_grad()
    def test_prior_and_posterior_agree_on_the_probability_of_a_text(
        self, make: Make, some: Callable[[Setting], Batch], setting: Setting
    ) -> None:
        """E_p(z) p(x | z) = E_q(z | x) p(x | z) p(z) / q(z | x): sampling, densities and likelihood hold together.

        Both sides are means of 2,000 weights; their logs agree within 5 standard errors.
        """
        system, n, condition = make(setting), 2000, some(setting).condition
        for parameter in system.parameters():
            parameter.mul_(0.4)  # tamer, so that weights have moderate variances
        if condition is not None:
            condition = Batch.collate([texts_of(condition)[-1]], pad=0)
        batch = Batch.collate([texts_of(some(setting))[0][:3]], 0, condition)
        prior = system.sample_prior(n, condition, stream(1))
        path = system.encode(batch).sample(n, stream(2))
        logs = (
            system.log_likelihood(batch, prior),
            system.log_likelihood(batch, path) + (path.log_p - path.log_q).sum(-1),
        )
        estimates, variance = [], 0.0
        for chances in ((log - logs[0].max()).exp() for log in logs):
            estimates.append(float(chances.mean().log()))
            variance += float(chances.var() / chances.mean() ** 2 / n)
        assert variance < 0.1**2
        assert estimates[0] == pytest.approx(estimates[1], abs=5 * math.sqrt(variance) + 1e-6)

    @torch.no_grad()
    def test_the_encoder_runs_once(self, make: Make, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
        """However often the posterior is sampled, and whatever it is asked to score."""
        system = make()
        calls: list[Batch] = []
        encode = system.backbone.encode

        def counted(batch: Batch) -> object:
            calls.append(batch)
            return encode(batch)

        monkeypatch.setattr(system.backbone, "encode", counted)
        posterior = system.encode(batch)
        assert len(calls) == (1 if system.groups else 0)
        first, again = (posterior.sample(3, stream()) for _ in range(2))
        posterior.log_prob(first.shared())
        assert len(calls) == (1 if system.groups else 0)
        assert all(torch.equal(one, other) for one, other in zip(tensors(first), tensors(again), strict=True))

    @torch.no_grad()
    def test_the_seed_decides_the_samples(self, make: Make, batch: Batch) -> None:
        system = make()
        paths = [system.encode(batch).sample(3, stream(seed)) for seed in (0, 0, 1)]
        for first, again in zip(tensors(paths[0]), tensors(paths[1]), strict=True):
            assert torch.equal(first, again)
        for first, other in zip(paths[0].z, paths[2].z, strict=True):
            assert not torch.equal(first, other)
        prior, same = (system.sample_prior(3, None, stream()) for _ in range(2))
        assert all(torch.equal(one, other) for one, other in zip(tensors(prior), tensors(same), strict=True))


class TestTextsAlone:
    """A text is the same alone and in any batch: in float32, 1e-5 for every number, as the contract asks."""

    @torch.no_grad()
    def test_posterior_and_likelihood(self, make: Make, batch: Batch) -> None:
        system = make()
        path = system.encode(batch).sample(2, streams(len(batch)))
        together = system.log_likelihood(batch, path)
        for row, ids in enumerate(texts_of(batch)):
            one = Batch.collate([ids], pad=0)
            alone = system.encode(one).sample(2, [stream(row)])
            for found, expected in zip(tensors(alone), tensors(path), strict=True):
                torch.testing.assert_close(found[0], expected[row], rtol=1e-5, atol=1e-5)
            at_fixed_z = system.log_likelihood(one, of_text(path, row))
            torch.testing.assert_close(at_fixed_z[0], together[row], rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_scores(self, make: Make, texts: TokenizedTexts) -> None:
        """Through the harness: from one text per pass to all texts and samples at once."""
        small, large = (scored(make(), texts, k=4, batch_tokens=tokens) for tokens in (1, 10_000))
        for field in ("log_likelihood", "log_ratio", "kl", "mean", "mean_noise", "log_q", "log_q_aggregated"):
            np.testing.assert_allclose(getattr(small, field), getattr(large, field), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("strategy", ["greedy", "beam", "sample"])
    @torch.no_grad()
    def test_generation(self, make: Make, batch: Batch, strategy: str) -> None:
        """In float64, where two scores that differ by rounding are never the two best; samples of posteriors."""
        torch.set_default_dtype(torch.float64)
        try:
            system, n = make().double(), 2
            decoding = DecodingSpec(strategy=strategy, beams=3, max_tokens=6)
            path = system.encode(batch).sample(n, stream())
            seeds = list(range(n * len(batch)))
            together = system.generate(path, None, decoding, seeds)
            alone = [
                system.generate(of_text(path, row).narrow(k, k + 1), None, decoding, [n * row + k])[0]
                for row in range(len(batch))
                for k in range(n)
            ]
        finally:
            torch.set_default_dtype(torch.float32)
        assert together == alone


class TestLikelihood:
    @torch.no_grad()
    def test_next_tokens_chances_sum_to_one(self, make: Make, batch: Batch) -> None:
        """At fixed z the likelihoods of all continuations add up to that of the prefix: none looks ahead."""
        system = make()
        size, prefix = system.backbone.vocabulary_size, texts_of(batch)[0][:4]
        path = system.encode(batch).sample(1, stream())
        same = of_text(path, 0)
        z = tuple(group.expand(size, -1, -1) for group in same.z)
        every = LatentPath(z, z, *(same.log_q.expand(size, -1, -1),) * 3)
        longer = system.log_likelihood(Batch.collate([[*prefix, token] for token in range(size)], pad=0), every)
        shorter = system.log_likelihood(Batch.collate([prefix], pad=0), same)
        # 300 chances of float32 precision.
        torch.testing.assert_close(longer.logsumexp(0), shorter[0], rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_every_group_of_latents_matters(self, make: Make, batch: Batch) -> None:
        system = make()
        path = system.encode(batch).sample(1, stream())
        before = system.log_likelihood(batch, path)
        for group in range(len(system.groups)):
            moved = replace(path, z=tuple(z + (number == group) for number, z in enumerate(path.z)))
            assert float((system.log_likelihood(batch, moved) - before).abs().min()) > 1e-4

    def test_gradients_reach_every_parameter(self, make: Make, name: str, batch: Batch) -> None:
        system = make().train()
        path = system.encode(batch).sample(2, stream())
        (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
        gradients = {name: parameter.grad for name, parameter in system.named_parameters()}
        assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients.values())
        still = {name for name, gradient in gradients.items() if gradient is not None and not gradient.any()}
        assert still == WITHOUT_EFFECT.get(name, set())


def scored(system: System, texts: TokenizedTexts, k: int, batch_tokens: int = 4000) -> ScoredTexts:
    scoring = ScoringSpec(n_importance_samples=k, batch_tokens=batch_tokens)
    return score_texts(system, texts, scoring, TrainingSpec(precision="fp32"), latent_seed=3)


class TestScores:
    def test_the_bound_rises_from_the_elbo_with_the_number_of_samples(self, make: Make, texts: TokenizedTexts) -> None:
        """Averaged over disjoint blocks of samples the bound of 2k samples is never below that of k (concavity)."""
        system, k = make(), 64
        found = scored(system, texts, k)
        bounds = []
        for size in (1, 2, 4, 8, 16, 32, 64):
            blocks = [
                importance_bound(replace(found, log_likelihood=ll, log_ratio=ratio))
                for ll, ratio in zip(
                    np.split(found.log_likelihood, k // size, axis=1),
                    np.split(found.log_ratio, k // size, axis=1),
                    strict=True,
                )
            ]
            bounds.append(np.mean(blocks))
        assert (np.diff(bounds) >= -1e-12).all()
        error = found.log_weights.std(axis=1).mean() / math.sqrt(k * len(texts))
        elbo = -ELBO().score(found).value
        assert bounds[0] == pytest.approx(elbo, abs=5 * error + 1e-9)
        if system.groups:
            assert bounds[-1] > bounds[0] + 0.01
        else:
            assert bounds[-1] == pytest.approx(elbo, abs=1e-9)

    def test_scores_are_those_of_the_system(self, make: Make, batch: Batch, texts: TokenizedTexts) -> None:
        """Averages of the unreduced terms, and an aggregated posterior that is every text's posterior, averaged."""
        system = make()
        found = scored(system, texts, k=6)
        assert found.groups == system.groups
        assert KL().score(found).value == pytest.approx(found.kl.sum() / len(texts))
        assert Reconstruction().score(found).value == pytest.approx(-found.log_likelihood.mean(), rel=1e-12)
        ratio = MutualInformation().statistics(found)
        assert ratio.max() <= math.log(len(texts)) + 1e-9

    def test_the_same_seed_gives_the_same_scores(self, make: Make, texts: TokenizedTexts) -> None:
        first, again = (scored(make(), texts, k=4) for _ in range(2))
        np.testing.assert_array_equal(first.log_weights, again.log_weights)


class TestGeneration:
    @torch.no_grad()
    def test_every_sample_becomes_one_text(self, make: Make, batch: Batch) -> None:
        system = make()
        tokenizer, decoding = system.backbone.tokenizer, DecodingSpec(max_tokens=5)
        from_prior = system.generate(system.sample_prior(7, None, stream()), None, decoding, 0)
        of_texts = system.generate(system.encode(batch).sample(3, stream()), None, decoding, 0)
        assert (len(from_prior), len(of_texts)) == (7, 3 * len(batch))
        for text in from_prior + of_texts:
            assert len(text) <= 5
            assert set(text) <= set(range(len(tokenizer))) - {tokenizer.pad, tokenizer.bos, tokenizer.eos}

    @torch.no_grad()
    def test_every_condition_gets_its_samples(self, make: Make, pairs: Batch) -> None:
        system = make(SETTINGS[1])
        path = system.sample_prior(3, pairs.condition, stream())
        assert len(system.generate(path, pairs.condition, DecodingSpec(max_tokens=3), 0)) == 3 * len(pairs)

    @torch.no_grad()
    def test_the_seed_decides_the_texts_and_nothing_else_does(self, make: Make) -> None:
        system, decoding = make(), DecodingSpec(max_tokens=10)
        path = system.sample_prior(4, None, stream())
        state = torch.get_rng_state()
        first, again, other = (system.generate(path, None, decoding, seed) for seed in (0, 0, 1))
        assert first == again
        assert first != other
        assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_saved_weights_are_the_system(make: Make, batch: Batch, tmp_path: Path) -> None:
    """Written and read as the harness does, into a system that began with other weights."""
    system, other = make(seed=0), make(seed=1)

    def likelihood(system: System) -> Tensor:
        return system.log_likelihood(batch, system.encode(batch).sample(2, stream()))

    expected = likelihood(system)
    assert not torch.equal(likelihood(other), expected)
    file = tmp_path / "model.safetensors"
    file.write_bytes(save(weights(system)))
    load_weights(other, file)
    assert torch.equal(likelihood(other), expected)
    assert all(
        torch.equal(a, b) for a, b in zip(system.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_what_a_system_says_about_itself(make: Make, name: str, batch: Batch) -> None:
    system = make()
    assert isinstance(system.encode(batch), Posterior)
    assert all(isinstance(size, int) and size > 0 for size in system.groups)
    assert type(system).version >= 1
    for task in ("snli", "quora"):
        reason = type(system).supports(run_spec(name, task, 0, "smoke", load_scale("smoke"), "files"))
        assert reason is None or len(reason.splitlines()) == 1

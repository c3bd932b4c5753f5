"""Optimus against transformers' own BERT and GPT-2, one text at a time.

BERT reads the text in its own tokens. The memory is a cache of one position filled beforehand; embeddings go in as
`inputs_embeds`. All in float64 with eager attention; the oracle takes our weights by name and shares no code with us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from transformers import BertConfig, BertModel, DynamicCache, GPT2Config, GPT2LMHeadModel

from baselines.optimus import Optimus
from bench.backbones import EncoderOnly
from bench.batch import Batch
from bench.interface import System
from bench.specs import DecodingSpec

# In float64 both sides agree to rounding; in float32 the contract demands 1e-5.
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
SIZE = 4

Make = Callable[..., System]
each_injection = pytest.mark.parametrize("injection", ["both", "memory", "embedding"])


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Oracle:
    """BERT and GPT-2 of transformers with the weights of our system, and its linear maps."""

    def __init__(self, system: System) -> None:
        assert isinstance(system, Optimus)
        assert isinstance(system.own_encoder, EncoderOnly)
        self.weights, self.injection = dict(system.named_parameters()), system.config.injection
        self.bert_config, self.gpt2_config = (
            {**stack.model.config.to_dict(), "attn_implementation": "eager"}
            for stack in (system.own_encoder, system.backbone)
        )

    @cached_property
    def bert(self) -> BertModel:
        return BertModel(BertConfig.from_dict(self.bert_config)).eval()

    @cached_property
    def gpt2(self) -> GPT2LMHeadModel:
        return GPT2LMHeadModel(GPT2Config.from_dict(self.gpt2_config)).eval()

    def part(self, prefix: str) -> Mapping[str, Tensor]:
        found = {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}
        assert found
        return found

    def pooled(self, ids: list[int]) -> Tensor:
        output = functional_call(self.bert, self.part("own_encoder.model."), (torch.tensor([ids]),))
        return output.pooler_output[0]

    def posterior(self, text: Tensor) -> tuple[Tensor, Tensor]:
        statistics = self.weights["posterior.weight"] @ text
        return statistics[: len(statistics) // 2], statistics[len(statistics) // 2 :]

    def logits(self, ids: list[int], z: Tensor) -> Tensor:
        """Logits of the next token after every prefix (T x V)."""
        config, width = self.gpt2.config, self.gpt2.config.n_embd
        projection: Tensor = self.weights["projection.weight"]
        keywords: dict[str, Any] = {}
        tokens = self.weights["backbone.model.transformer.wte.weight"]
        embedded = tokens[ids]
        if self.injection != "memory":
            embedded = embedded + projection[:width] @ z
            projection = projection[width:]
        if self.injection != "embedding":
            cache = DynamicCache()
            for layer in range(config.n_layer):
                vector = (projection[layer * width : (layer + 1) * width] @ z).view(1, config.n_head, 1, -1)
                cache.update(vector, vector, layer)
            keywords = {"past_key_values": cache, "attention_mask": torch.ones(1, len(ids) + 1)}
        inputs = {"inputs_embeds": embedded[None], "position_ids": torch.arange(len(ids))[None], **keywords}
        weights = {**self.part("backbone.model."), "lm_head.weight": tokens}
        return functional_call(self.gpt2, weights, kwargs=inputs).logits[0]

    def log_likelihood(self, ids: list[int], z: Tensor) -> Tensor:
        scores = self.logits(ids[:-1], z).log_softmax(-1)
        return scores[torch.arange(len(ids) - 1), ids[1:]].sum()


@pytest.fixture
def optimus(make_system: Make) -> Make:
    def make(**options: object) -> System:
        return make_system("optimus", latent_size=SIZE, **options).double()

    return make


def streams(batch: Batch) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(len(batch))]


def test_posterior_is_linear_in_berts_pooled_first_token(optimus: Make, batch: Batch) -> None:
    system = optimus()
    path, oracle = system.encode(batch).sample(1, streams(batch)), Oracle(system)
    for row, ids in enumerate(batch.encoder.unpadded()):
        mean, log_variance = oracle.posterior(oracle.pooled(ids))
        q = torch.distributions.Normal(mean, (log_variance / 2).exp())
        p = torch.distributions.Normal(torch.zeros(SIZE), torch.ones(SIZE))
        z = mean + (log_variance / 2).exp() * torch.randn(SIZE, generator=torch.Generator().manual_seed(row))
        torch.testing.assert_close(path.mean[0][row, 0], mean, **TOLERANCE)
        torch.testing.assert_close(path.z[0][row, 0], z, **TOLERANCE)
        torch.testing.assert_close(path.log_q[row, 0, 0], q.log_prob(z).sum(), **TOLERANCE)
        torch.testing.assert_close(path.log_p[row, 0, 0], p.log_prob(z).sum(), **TOLERANCE)
        torch.testing.assert_close(path.kl[row, 0, 0], torch.distributions.kl_divergence(q, p).sum(), **TOLERANCE)


@each_injection
def test_log_likelihood(optimus: Make, batch: Batch, injection: str) -> None:
    system = optimus(injection=injection)
    path, oracle = system.encode(batch).sample(2, streams(batch)), Oracle(system)
    ours = system.log_likelihood(batch, path)
    for row, ids in enumerate(batch.unpadded()):
        for k in range(2):
            expected = oracle.log_likelihood(ids, path.z[0][row, k])
            torch.testing.assert_close(ours[row, k], expected, **TOLERANCE)


@each_injection
def test_gradients_of_the_loss(optimus: Make, batch: Batch, injection: str) -> None:
    system = optimus(injection=injection)
    parameters = dict(system.named_parameters())
    path = system.encode(batch).sample(1, streams(batch))
    loss = path.kl.sum() - system.log_likelihood(batch, path).sum()
    ours = torch.autograd.grad(loss, list(parameters.values()))
    oracle, expected = Oracle(system), torch.zeros(())
    for row, (ids, own) in enumerate(zip(batch.unpadded(), batch.encoder.unpadded(), strict=True)):
        mean, log_variance = oracle.posterior(oracle.pooled(own))
        z = mean + (log_variance / 2).exp() * torch.randn(SIZE, generator=torch.Generator().manual_seed(row))
        kl = (log_variance.exp() + mean**2 - 1 - log_variance).sum() / 2
        expected = expected + kl - oracle.log_likelihood(ids, z)
    theirs = torch.autograd.grad(expected, list(parameters.values()))
    for name, gradient, expected_gradient in zip(parameters, ours, theirs, strict=True):
        # The tolerance is larger because the order of summation over tokens differs.
        torch.testing.assert_close(
            gradient, expected_gradient, rtol=1e-7, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}"
        )


@each_injection
def test_cached_greedy_generation(optimus: Make, injection: str) -> None:
    system = optimus(injection=injection)
    path = system.sample_prior(3, None, torch.Generator().manual_seed(3))
    ours, oracle = system.generate(path, None, DecodingSpec(strategy="greedy", max_tokens=8), seed=0), Oracle(system)
    tokenizer = system.tokenizer
    for k, generated in enumerate(ours):
        ids = [tokenizer.bos]
        while len(ids) <= 8 and (best := int(oracle.logits(ids, path.z[0][0, k])[-1].argmax())) != tokenizer.eos:
            ids.append(best)
        assert generated == [token for token in ids[1:] if token not in (tokenizer.pad, tokenizer.bos)]


def test_prior_is_standard_normal(optimus: Make) -> None:
    path = optimus().sample_prior(3, None, torch.Generator().manual_seed(0))
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(path.z[0]).sum(-1)
    torch.testing.assert_close(path.log_p[..., 0], standard, **TOLERANCE)


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_posterior_and_prior_see_the_source(optimus: Make, pairs: Batch, kind: str) -> None:
    system = optimus(kind=kind, conditional=True)
    oracle, condition = Oracle(system), pairs.condition
    assert condition is not None
    path, prior = system.encode(pairs).sample(1, streams(pairs)), system.sample_prior(1, condition, streams(pairs))
    for row, (ids, source) in enumerate(zip(pairs.encoder.unpadded(), condition.encoder.unpadded(), strict=True)):
        text, c = oracle.pooled(ids), oracle.pooled(source)
        torch.testing.assert_close(path.mean[0][row, 0], oracle.posterior(torch.cat([text, c]))[0], **TOLERANCE)
        torch.testing.assert_close(prior.mean[0][row, 0], (system.prior.weight @ c)[:SIZE], **TOLERANCE)


def test_linear_maps_have_no_bias(optimus: Make) -> None:
    names = {name for name, _ in optimus(conditional=True).named_parameters()}
    assert {name for name in names if not name.startswith(("own_encoder.", "backbone."))} == {
        *("posterior.weight", "prior.weight", "projection.weight"),
    }


@each_injection
def test_initial_weights_of_the_projection(make_system: Make, injection: str) -> None:
    """Each part has the standard deviation of `embed` or `memory`, within 10%."""
    untrained = make_system("optimus", moved=False, latent_size=64, injection=injection)
    width, std = untrained.backbone.width, untrained.backbone.initial_std
    projection = untrained.projection.weight.detach()
    parts = {"embedding": (projection[:width], std / 8), "memory": (projection[-3 * width :], std)}
    for place, (rows, expected) in parts.items():
        if injection in ("both", place):
            assert float(rows.std()) == pytest.approx(expected, rel=0.1)


def test_attention_pooling_makes_the_pooler_idle(optimus: Make, batch: Batch) -> None:
    for representation in ("first_token", "attention_pool"):
        system = optimus(representation=representation)
        path = system.encode(batch).sample(1, streams(batch))
        (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
        without = {name for name, parameter in system.named_parameters() if parameter.grad is None}
        assert without == system.idle_parameters()
        assert len(without) == (2 if representation == "attention_pool" else 0)

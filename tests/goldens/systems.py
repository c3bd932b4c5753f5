"""What each system computes at fixed weights: in every setting that it supports, and with each of its options."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from bench.interface import System
from bench.systems import SYSTEMS
from bench.testing.samples import generator, generators
from bench.testing.system_under_test import SCALE, SETTINGS, TEXTS, SystemUnderTest
from bench.tokenizers import BERT_TOKENS, EncoderTokens, Tokenizer
from tests.goldens.golden import DROPOUT, Golden, Kind, own_names, place_of
from tests.goldens.options import other_options
from tests.goldens.plain import tokenizer_of

STRATEGIES = ("greedy", "sampling", "beam")
MORE = (("layers", "2-3"),)
"""Further values of options, where a system has them."""


class UnderGolden(SystemUnderTest):
    """A system with a tokenizer that is not trained: another way of training it moves no system."""

    @property
    def tokenizer(self) -> Tokenizer:
        words = sorted({word for text in TEXTS for side in (text.target, text.source or "") for word in side.split()})
        tokenizer = tokenizer_of(words)
        encoder = SCALE.encoder_for(self.cls.encoder_kind)
        if encoder is None:
            return tokenizer
        return tokenizer.with_encoder(EncoderTokens(tokenizer_of(words[::-1], BERT_TOKENS), encoder.positions))


def measure(name: str) -> Golden:
    cls = SYSTEMS.get(name)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        tested = UnderGolden(cls, setting=setting)
        if tested.unsupported() is None:
            with tested.in_precision(torch.float64) as system:
                values |= {f"{setting.name}, {what}": value for what, value in values_of(system, tested).items()}
    for option, value in (*other_options(cls.Config), *MORE):
        if option in cls.Config.model_fields:
            values[f"{option}={value}"] = values_with({option: value}, cls)
    return Golden(cls.version, place_of(cls), values)


def values_with(options: dict[str, Any], cls: type[System]) -> list[float] | str:
    """Returns the ELBO's terms and the norm of its gradient, with sources where the system reads them.

    Of options that the system refuses, it returns the reason.
    """
    try:
        cls.Config(**options)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    settings = [UnderGolden(cls, options, setting) for setting in (SETTINGS[1], SETTINGS[0])]
    tested = next(each for each in settings if each.unsupported() is None)
    with tested.in_precision(torch.float64) as system:
        path = system.encode(tested.batch()).sample(2, generators(tested.rows))
        log_likelihood, kl = system.log_likelihood(tested.batch(), path), path.kl.sum(-1)
        gradient = norm_of_gradients(system, log_likelihood - kl)
    return [log_likelihood.mean().item(), kl.mean().item(), gradient]


def values_of(system: System, tested: SystemUnderTest) -> dict[str, Any]:
    batch = tested.batch()
    posterior = system.encode(batch)
    path = posterior.sample(3, generators(tested.rows))
    log_likelihood = system.log_likelihood(batch, path)
    prior = system.sample_prior(2, batch.condition, generator() if batch.condition is None else generators(tested.rows))
    values = {
        "log_likelihood": log_likelihood.mean(1).tolist(),
        **{term: getattr(path, term).mean((0, 1)).tolist() for term in ("log_q", "log_p", "kl")},
        "log_prob": posterior.log_prob(path.shared()).mean((0, 1)).tolist(),
        "prior": [prior.log_p.mean((0, 1)).tolist(), *(z.abs().mean().item() for z in prior.z)],
        "gradient": norm_of_gradients(system, log_likelihood - path.kl.sum(-1)),
    }
    decodings = tested.decodings()
    for strategy in (strategy for strategy in STRATEGIES if strategy in decodings):
        texts = system.generate(prior.detach(), batch.condition, decodings[strategy], 0)
        values[strategy] = system.tokenizer.decode(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system.train()
        path = system.encode(batch).sample(1, generator())
        values["training"] = [system.log_likelihood(batch, path).mean().item(), path.kl.mean((0, 1)).tolist()]
    return values


def norm_of_gradients(system: System, elbo: Tensor) -> float:
    if not elbo.requires_grad:  # every weight is frozen
        return 0.0
    elbo.sum().backward()
    squares = [parameter.grad.square().sum() for parameter in system.parameters() if parameter.grad is not None]
    return float(torch.stack(squares).sum().sqrt())


SYSTEM = Kind("system", lambda: own_names(SYSTEMS), measure, incomparable=DROPOUT)

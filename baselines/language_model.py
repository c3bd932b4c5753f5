"""The plain language model: the backbone fine-tuned without any latent variable (`GPT-2` in the tables)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from bench.backbones import Backbone, InjectedSystem, Injection
from bench.batch import Batch, Generators
from bench.interface import LatentPath, Posterior
from bench.specs import SystemConfig


class LanguageModelConfig(SystemConfig):
    """Options of the language model.

    Attributes:
        weights: ``fine-tuned``, or ``zero-shot``: those of the backbone, which is scored as it is.
    """

    weights: Literal["fine-tuned", "zero-shot"] = Field("fine-tuned", exclude_if=lambda weights: weights != "zero-shot")


@dataclass(frozen=True)
class NoPosterior(Posterior):
    """The posterior of a system without latent variables, for ``batch`` texts: its samples have no groups."""

    batch: int
    device: torch.device

    @override
    def sample(self, n: int, generator: Generators) -> LatentPath:
        no_terms = torch.zeros(self.batch, n, 0, device=self.device)
        return LatentPath((), (), no_terms, no_terms, no_terms)

    @override
    def log_prob(self, path: LatentPath) -> Tensor:
        return torch.zeros(self.batch, path.n, 0, device=self.device)


class LanguageModel(InjectedSystem):
    """p(x | c) = prod_t p(x_t | x_<t, c) on the backbone."""

    Config = LanguageModelConfig
    groups = ()

    def __init__(self, backbone: Backbone, config: LanguageModelConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.requires_grad_(config.weights == "fine-tuned")

    @override
    def encode(self, batch: Batch) -> Posterior:
        return NoPosterior(len(batch), batch.ids.device)

    @override
    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        texts = 1 if condition is None else len(condition)
        return NoPosterior(texts, self.backbone.model.device).sample(n, generator)

    @override
    def inject(self, path: LatentPath) -> Injection:
        return Injection()

    @override
    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        # Computed once per text: it is the same for all n samples.
        return self.backbone.log_likelihood(batch, self.inject(path)).expand(-1, path.n)

"""The plain language model: the backbone fine-tuned without any latent variable (`GPT-2` in the tables)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from bench.backbones import InjectedSystem, Injection
from bench.batch import Batch, Generators
from bench.interface import LatentPath, Posterior


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

    groups = ()

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

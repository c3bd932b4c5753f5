"""The plain language model: the backbone fine-tuned without any latent variable (`GPT-2` in the tables)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import InjectedSystem, Injection
from bench.batch import Batch, Generators
from bench.interface import LatentPath, Posterior


@dataclass(frozen=True)
class NoPosterior(Posterior):
    """The posterior of no latent variable: paths without groups, for ``batch`` texts."""

    batch: int
    device: torch.device

    def sample(self, n: int, generator: Generators) -> LatentPath:
        """Returns n empty samples per text."""
        none = torch.zeros(self.batch, n, 0, device=self.device)
        return LatentPath((), (), none, none, none)

    def log_prob(self, path: LatentPath) -> Tensor:
        """Returns no term at all (B x n x 0)."""
        return torch.zeros(self.batch, path.n, 0, device=self.device)


class LanguageModel(InjectedSystem):
    """p(x | c) = prod_t p(x_t | x_<t, c) on the backbone."""

    groups = ()

    def encode(self, batch: Batch) -> Posterior:
        """Returns the posterior of no latent variable; there is no encoder."""
        return NoPosterior(len(batch), batch.ids.device)

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Returns n empty samples."""
        texts = 1 if condition is None else len(condition)
        return NoPosterior(texts, self.backbone.model.device).sample(n, generator)

    def inject(self, path: LatentPath) -> Injection:
        """Adds nothing to the decoder."""
        return Injection()

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns log p(x), the same for every one of the n samples (B x n)."""
        return self.backbone.log_likelihood(batch, self.inject(path)).expand(-1, path.n)

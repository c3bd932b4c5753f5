"""The plain language model: the backbone fine-tuned without any latent variable (`GPT-2` in the tables)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Injection
from bench.interface import Batch, Generators, LatentPath, Posterior, Seeds, System
from bench.spec import DecodingSpec


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


class LanguageModel(System):
    """p(x | c) = prod_t p(x_t | x_<t, c) on the backbone."""

    default_objective = "constant"
    groups = ()

    def encode(self, batch: Batch) -> Posterior:
        """Returns the posterior of no latent variable; there is no encoder."""
        return NoPosterior(len(batch), batch.ids.device)

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Returns n empty samples."""
        texts = 1 if condition is None else len(condition)
        return NoPosterior(texts, self.backbone.model.device).sample(n, generator)

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns log p(x), the same for every one of the n samples (B x n)."""
        return self.backbone.log_likelihood(batch, Injection()).expand(-1, path.n)

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        """Decodes one text per empty sample."""
        return self.backbone.generate(path.n, Injection(), decoding, seed, condition)

"""The vanilla Transformer-VAE paradigms: one latent variable, three ways into the decoder.

`embed` adds a projection of z to every token embedding, `memory` gives every layer one more key and value to attend to
(both Li et al. 2020), `softmax` adds a projection of z to the scores of every next token (Fang et al. 2021). Encoder
and prior are the same: one bidirectional pass, q(z | x) from the last layer's first token, p(z) = N(0, I). With a
condition c both see its first token too: q(z | x, c) and p(z | c).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.backbones import AttentionPooling, Backbone, InjectedSystem, Injection
from bench.interface import Batch, Generators, LatentPath, Posterior
from bench.latents import Gaussian, GaussianPosterior, sample_gaussian_prior, standard_gaussian
from bench.spec import SystemConfig


class TransformerVAEConfig(SystemConfig):
    """Options of the paradigms.

    Attributes:
        latent_size: dimensions of z (32 in the paper; 384 = 12 x 32 in its Table 4).
        representation: of the text, on which q(z | x) depends: the first token's state, or attention pooling.
    """

    latent_size: int = Field(32, ge=1)
    representation: Literal["first_token", "attention_pool"] = "first_token"


class TransformerVAE(InjectedSystem):
    """A latent variable z with standard normal prior; a paradigm says how z enters the decoder."""

    Config = TransformerVAEConfig
    config: TransformerVAEConfig

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.groups = (config.latent_size,)
        self.pooling = AttentionPooling(backbone.width) if config.representation == "attention_pool" else None
        seen = backbone.width * (2 if conditional else 1)
        self.posterior = nn.Linear(seen, 2 * config.latent_size)
        self.prior = nn.Linear(backbone.width, 2 * config.latent_size) if conditional else None
        self.projection = nn.Linear(config.latent_size, self.injected_size(backbone), bias=False)
        for network in (self.posterior, self.prior):
            if network is not None:
                nn.init.normal_(network.weight, std=backbone.initial_std)
                nn.init.zeros_(network.bias)
        nn.init.normal_(self.projection.weight, std=self.initial_std)

    @property
    def initial_std(self) -> float:
        """Standard deviation of the projection's weights at the start: that of every weight of the backbone."""
        return self.backbone.initial_std

    @staticmethod
    @abstractmethod
    def injected_size(backbone: Backbone) -> int:
        """Returns how many numbers z is projected to."""

    @abstractmethod
    def place(self, projected: Tensor) -> Injection:
        """Returns what the projection of z (N x injected size) adds to the decoder."""

    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z | x, c) beside p(z | c), after one bidirectional pass over each of x and c."""
        text = self._represent(batch)
        if self.prior is None or batch.condition is None:
            return GaussianPosterior(Gaussian.split(self.posterior(text), through=self.posterior_mean))
        condition = self._represent(batch.condition)
        q = Gaussian.split(self.posterior(torch.cat([text, condition], dim=-1)), through=self.posterior_mean)
        return GaussianPosterior(q, Gaussian.split(self.prior(condition)))

    def _represent(self, batch: Batch) -> Tensor:
        hidden = self.backbone.encode(batch).last
        return hidden[:, 0] if self.pooling is None else self.pooling(hidden, batch.mask)

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws z from N(0, I), or from p(z | c)."""
        if self.prior is not None and condition is not None:
            return sample_gaussian_prior(Gaussian.split(self.prior(self._represent(condition))), n, generator)
        like = self.posterior.weight.new_zeros(1, self.config.latent_size)
        return sample_gaussian_prior(standard_gaussian(like), n, generator)

    def inject(self, path: LatentPath) -> Injection:
        """Projects z and puts it where the paradigm says."""
        return self.place(self.projection(path.z[0].flatten(0, 1)))


class EmbedVAE(TransformerVAE):
    """z is projected and added to the embedding of every token."""

    @property
    def initial_std(self) -> float:
        """Such that z adds at first as much as a token's own embedding, rather than drown it."""
        return self.backbone.initial_std / math.sqrt(self.config.latent_size)

    @staticmethod
    def injected_size(backbone: Backbone) -> int:
        """One vector of the width of the embeddings."""
        return backbone.width

    def place(self, projected: Tensor) -> Injection:
        """Adds the projection to every token embedding."""
        return Injection(embedding=projected)


class MemoryVAE(TransformerVAE):
    """z is projected to one vector per layer, the key and value of a position that every token attends to."""

    @staticmethod
    def injected_size(backbone: Backbone) -> int:
        """One vector per layer."""
        return backbone.n_layers * backbone.width

    def place(self, projected: Tensor) -> Injection:
        """Uses each layer's vector as both key and value, unprojected, as Optimus does."""
        memory = projected.unflatten(-1, (-1, 1, self.backbone.width)).expand(-1, -1, 2, -1)
        return Injection(memory=cast(Tensor, memory))


class SoftmaxVAE(TransformerVAE):
    """z is projected to the vocabulary and added to the scores of every next token."""

    @staticmethod
    def injected_size(backbone: Backbone) -> int:
        """One score per token of the vocabulary."""
        return backbone.vocabulary_size

    def place(self, projected: Tensor) -> Injection:
        """Adds the projection to the logits at every position."""
        return Injection(logits=projected)

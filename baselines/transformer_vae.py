"""The vanilla Transformer-VAE paradigms: one latent variable, three ways into the decoder.

`embed` adds a projection of z to every token embedding, `memory` gives every layer one more key and value to attend to
(both Li et al. 2020), `softmax` adds a projection of z to the scores of every next token (Fang et al. 2021). Encoder
and prior are the same: one bidirectional pass, q(z | x) from the last layer's first token, p(z) = N(0, I). With a
condition c both see its first token too: q(z | x, c) and p(z | c).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.backbones import AttentionPooling, Backbone, EncoderOnly, InjectedSystem, Injection, Stack
from bench.batch import Batch, Generators
from bench.interface import LatentPath, Posterior
from bench.latents import Gaussian, GaussianPosterior, sample_gaussian_prior, standard_gaussian
from bench.specs import SystemConfig


class TransformerVAEConfig(SystemConfig):
    """Options of the paradigms.

    Attributes:
        latent_size: dimensions of z (32 in the paper; 384 = 12 x 32 in its Table 4).
        representation: of the text, on which q(z | x) depends: the first token's state, or attention pooling.
    """

    latent_size: int = Field(32, ge=1)
    representation: Literal["first_token", "attention_pool"] = "first_token"


class TransformerVAE(InjectedSystem):
    """A latent variable z with standard normal prior; a paradigm says how z enters the decoder.

    Class attributes:
        posterior_bias: whether q(z | x) (and p(z | c)) is an affine rather than a linear map of the representation.
    """

    Config = TransformerVAEConfig
    config: TransformerVAEConfig
    default_objective = "two-epoch-cycle"
    posterior_bias: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        config: TransformerVAEConfig,
        conditional: bool = False,
        encoder: EncoderOnly | None = None,
    ) -> None:
        super().__init__(backbone, config, conditional)
        self.own_encoder = encoder
        self.groups = (config.latent_size,)
        width, statistics, bias = self.reader.width, 2 * config.latent_size, self.posterior_bias
        self.pooling = AttentionPooling(width) if config.representation == "attention_pool" else None
        self.posterior = nn.Linear(width * (2 if conditional else 1), statistics, bias)
        self.prior = nn.Linear(width, statistics, bias) if conditional else None
        self.projection = nn.Linear(config.latent_size, self.injected_size, bias=False)
        for network in (self.posterior, self.prior):
            if network is not None:
                nn.init.normal_(network.weight, std=self.reader.initial_std)
            if network is not None and network.bias is not None:
                nn.init.zeros_(network.bias)
        nn.init.normal_(self.projection.weight, std=self.initial_std)

    @property
    def reader(self) -> Stack:
        """The stack that encodes texts: the separate encoder if there is one, else the backbone."""
        return self.backbone if self.own_encoder is None else self.own_encoder

    @property
    def initial_std(self) -> float:
        """Standard deviation of the projection's weights at the start: that of every weight of the backbone."""
        return self.backbone.initial_std

    @property
    @abstractmethod
    def injected_size(self) -> int:
        """How many numbers z is projected to."""

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
        encoded = self.reader.encode(batch)
        return encoded.first_token if self.pooling is None else self.pooling(encoded.last, encoded.mask)

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

    @property
    def injected_size(self) -> int:
        """One vector of the width of the embeddings."""
        return self.backbone.width

    def place(self, projected: Tensor) -> Injection:
        """Adds the projection to every token embedding."""
        return Injection(embedding=projected)


class MemoryVAE(TransformerVAE):
    """z is projected to one vector per layer, the key and value of a position that every token attends to."""

    @property
    def injected_size(self) -> int:
        """One vector per layer."""
        return self.backbone.n_layers * self.backbone.width

    def place(self, projected: Tensor) -> Injection:
        """Uses each layer's vector as both key and value, unprojected, as Optimus does."""
        return Injection(memory=key_and_value(projected, self.backbone.width))


class SoftmaxVAE(TransformerVAE):
    """z is projected to the vocabulary and added to the scores of every next token."""

    @property
    def injected_size(self) -> int:
        """One score per token of the vocabulary."""
        return self.backbone.vocabulary_size

    def place(self, projected: Tensor) -> Injection:
        """Adds the projection to the logits at every position."""
        return Injection(logits=projected)


def key_and_value(projected: Tensor, width: int) -> Tensor:
    """Returns each layer's vector (N x layers * width) as key and value of its memory (N x layers x 2 x width)."""
    return cast(Tensor, projected.unflatten(-1, (-1, 1, width)).expand(-1, -1, 2, -1))

"""The vanilla Transformer-VAE paradigms: one latent variable, three ways into the decoder.

`embed` adds a projection of z to every token embedding, `memory` gives every layer one more key and value to attend to
(both Li et al. 2020), `softmax` adds a projection of z to the logits of every next token (Fang et al. 2021). Encoder
and prior are the same: one bidirectional pass, q(z | x) from the last layer's first token, p(z) = N(0, I). With a
condition c they are q(z | x, c) and p(z | c), which see the first token of c too.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from bench.backbones import AttentionPooling, Backbone, EncoderOnly, InjectedSystem, Injection, TransformerStack
from bench.batch import Batch, Generators
from bench.interface import LatentPath, Posterior
from bench.latents import Gaussian, GaussianPosterior, sample_gaussian_prior, standard_normal_like
from bench.specs import SystemConfig


class TransformerVAEConfig(SystemConfig):
    """Options of the paradigms.

    Attributes:
        latent_size: dimensions of z (32 in the paper; 384 = 12 x 32 in its Table 4).
        representation: vector of a text that q(z | x) depends on: the first token's state, or attention pooling.
    """

    latent_size: int = Field(32, ge=1)
    representation: Literal["first_token", "attention_pool"] = "first_token"


class TransformerVAE(InjectedSystem):
    """A latent variable z with standard normal prior; subclasses say in ``inject`` how z enters the decoder.

    Class attributes:
        posterior_bias: whether the linear maps of q(z | x) and p(z | c) have a bias.

    Attributes:
        own_encoder: a separate encoder of texts; None if the backbone encodes.
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
        width, statistics, bias = self.encoder.width, 2 * config.latent_size, self.posterior_bias
        self.pooling = AttentionPooling(width) if config.representation == "attention_pool" else None
        self.posterior = nn.Linear(width * (2 if conditional else 1), statistics, bias)
        self.prior = nn.Linear(width, statistics, bias) if conditional else None
        self.projection = nn.Linear(config.latent_size, self.projection_size(), bias=False)
        for network in (self.posterior, self.prior):
            if network is not None:
                nn.init.normal_(network.weight, std=self.encoder.initial_std)
            if network is not None and network.bias is not None:
                nn.init.zeros_(network.bias)
        self.initialise_projection()

    @property
    def encoder(self) -> TransformerStack:
        """The stack that encodes texts: the separate encoder if there is one, else the backbone."""
        return self.own_encoder or self.backbone

    @abstractmethod
    def projection_size(self) -> int:
        """Size of the projection of z."""

    def initialise_projection(self) -> None:
        """Draws the weights of the projection."""
        nn.init.normal_(self.projection.weight, std=self.backbone.initial_std)

    def project(self, path: LatentPath) -> Tensor:
        """Returns the projection of every sample of z (B n x projection size)."""
        return cast(Tensor, self.projection(path.z[0].flatten(0, 1)))

    @override
    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z | x, c), with p(z | c), after one bidirectional pass over each of x and c."""
        text = self._representation(batch)
        if self.prior is None or batch.condition is None:
            return GaussianPosterior(self._posterior(text))
        condition = self._representation(batch.condition)
        q = self._posterior(torch.cat([text, condition], dim=-1))
        return GaussianPosterior(q, Gaussian.from_parameters(self.prior(condition)))

    def _representation(self, batch: Batch) -> Tensor:
        encoded = self.encoder.encode(batch)
        return encoded.first_token_state if self.pooling is None else self.pooling(encoded.last, encoded.mask)

    def _posterior(self, representation: Tensor) -> Gaussian:
        return Gaussian.from_parameters(self.posterior(representation), mean_transform=self.posterior_mean)

    @override
    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        return sample_gaussian_prior(self._prior(condition), n, generator)

    @override
    def path_of(self, z: Sequence[Tensor], condition: Batch | None) -> LatentPath:
        p = self._prior(condition)
        return GaussianPosterior(p, p).path_of(z[0])

    def _prior(self, condition: Batch | None) -> Gaussian:
        """Returns p(z | c) of every condition, or p(z) once."""
        if self.prior is not None and condition is not None:
            return Gaussian.from_parameters(self.prior(self._representation(condition)))
        return standard_normal_like(self.posterior.weight.new_empty(1, self.config.latent_size))


class EmbedVAE(TransformerVAE):
    """z is projected and added to the embedding of every token."""

    @override
    def projection_size(self) -> int:
        return self.backbone.width

    @override
    def initialise_projection(self) -> None:
        """At first z adds as much as a token's own embedding, and does not drown it."""
        nn.init.normal_(self.projection.weight, std=self.backbone.initial_std / math.sqrt(self.config.latent_size))

    @override
    def inject(self, path: LatentPath) -> Injection:
        return Injection(embedding=self.project(path))


class MemoryVAE(TransformerVAE):
    """z is projected to one vector per layer, key and value of one more position that every token attends to.

    The vector is both key and value, without the layer's projections, as in Optimus.
    """

    @override
    def projection_size(self) -> int:
        return self.backbone.n_layers * self.backbone.value_width

    @override
    def inject(self, path: LatentPath) -> Injection:
        return Injection(memory=key_and_value(self.project(path), self.backbone.value_width))


class SoftmaxVAE(TransformerVAE):
    """z is projected to the vocabulary and added to the logits of every next token."""

    @override
    def projection_size(self) -> int:
        return self.backbone.vocabulary_size

    @override
    def inject(self, path: LatentPath) -> Injection:
        return Injection(logits=self.project(path))


def key_and_value(projected: Tensor, width: int) -> Tensor:
    """Returns each layer's vector (N x layers * width) as key and value of its memory (N x layers x 2 x width)."""
    return cast(Tensor, projected.unflatten(-1, (-1, 1, width)).expand(-1, -1, 2, -1))

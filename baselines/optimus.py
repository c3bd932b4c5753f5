"""Optimus (Li et al., EMNLP 2020): BERT encodes, GPT-2 decodes, one latent variable between them.

As released: q(z | x) is a linear map, without bias, of BERT's pooled [CLS] (a linear map and tanh); p(z) = N(0, I). z
enters the decoder as `memory` lets it in and as `embed` does, through one linear map without bias for each. BERT reads
the text in its own tokens.

Two things differ. The released decoder counts the positions of tokens from 1 if there is a memory, from 0 if there is
none; here the memory has no position and the tokens have 0, 1, ... always, as a pretrained decoder knows them. And the
map into the embeddings begins smaller, as in `embed`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from baselines.transformer_vae import TransformerVAE, TransformerVAEConfig, key_and_value
from bench.backbones import Backbone, EncoderOnly, Injection


class OptimusConfig(TransformerVAEConfig):
    """Options of Optimus; its ``first_token`` is the pooled one.

    Attributes:
        injection: where z enters the decoder; the released code can switch off either place.
    """

    injection: Literal["both", "memory", "embedding"] = "both"


class Optimus(TransformerVAE):
    """BERT and GPT-2 with one latent variable, injected as memory and into embeddings (Li et al. 2020).

    On conditional tasks, which are not in the paper, it becomes the CVAE that the paradigms become: q(z | x, c) and
    p(z | c) from what BERT makes of x and c, which the decoder reads as it does for every system.
    """

    Config = OptimusConfig
    config: OptimusConfig
    encoder_kind = "bert"
    default_objective = "optimus-2020"
    posterior_bias = False

    def __init__(
        self,
        backbone: Backbone,
        config: OptimusConfig,
        conditional: bool = False,
        encoder: EncoderOnly | None = None,
    ) -> None:
        super().__init__(backbone, config, conditional, encoder)
        with torch.no_grad():  # at first z shall not drown the tokens' own embeddings
            self.projection.weight[: self._sizes.get("embedding", 0)] /= math.sqrt(config.latent_size)

    def idle_parameters(self) -> frozenset[str]:
        """Names BERT's pooler, if the states of all tokens are pooled instead of it."""
        idle = "own_encoder.model.pooler." if self.pooling is not None else ()
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(idle))

    @property
    def _sizes(self) -> dict[str, int]:
        """How many numbers z is projected to for every place it enters."""
        width = self.backbone.width
        sizes = {"embedding": width, "memory": self.backbone.n_layers * width}
        return {place: size for place, size in sizes.items() if self.config.injection in ("both", place)}

    @property
    def injected_size(self) -> int:
        """One vector for the embeddings, and one per layer for the memory."""
        return sum(self._sizes.values())

    def place(self, projected: Tensor) -> Injection:
        """Adds the one to every token embedding, and lets every token attend to the others."""
        parts = dict(zip(self._sizes, projected.split(list(self._sizes.values()), dim=-1), strict=True))
        memory = parts.get("memory")
        return Injection(
            embedding=parts.get("embedding"),
            memory=None if memory is None else key_and_value(memory, self.backbone.width),
        )

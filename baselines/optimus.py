"""Optimus (Li et al., EMNLP 2020): BERT encodes, GPT-2 decodes, one latent variable between them.

As released: q(z | x) is a linear map, without bias, of BERT's pooled [CLS] (a linear map and tanh); p(z) = N(0, I). z
enters the decoder both as in `memory` and as in `embed`, through one linear map without bias for each. BERT reads the
text in its own tokens.

Two things differ. With a memory the released decoder counts the positions of tokens from 1, without one from 0; here
the memory has no position and tokens always have positions 0, 1, ..., as a pretrained decoder expects. And the map into
the embeddings starts with smaller weights, as in `embed`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from typing_extensions import override

from baselines.transformer_vae import TransformerVAE, TransformerVAEConfig, key_and_value
from bench.backbones import Injection
from bench.interface import LatentPath


class OptimusConfig(TransformerVAEConfig):
    """Options of Optimus; ``representation=first_token`` is the pooled state of [CLS].

    Attributes:
        injection: where z enters the decoder; the released code can switch off either place.
    """

    injection: Literal["both", "memory", "embedding"] = "both"


class Optimus(TransformerVAE):
    """BERT and GPT-2 with one latent variable, injected as memory and into embeddings (Li et al. 2020).

    The paper has no conditional tasks. On these it is a CVAE like the paradigms: q(z | x, c) and p(z | c) depend on
    BERT's representations of x and c, and the decoder reads c as in every system.
    """

    Config = OptimusConfig
    config: OptimusConfig
    encoder_kind = "bert"
    default_objective = "optimus-2020"
    posterior_bias = False

    @override
    def initialise_projection(self) -> None:
        super().initialise_projection()
        with torch.no_grad():  # as in `embed`: z must not drown the tokens' own embeddings at first
            self.projection.weight[: self._sizes.get("embedding", 0)] /= math.sqrt(self.config.latent_size)

    @override
    def idle_parameters(self) -> frozenset[str]:
        """Names the parameters of BERT's pooler if attention pooling replaces it."""
        names = [name for name, _ in self.named_parameters() if name.startswith("own_encoder.model.pooler.")]
        return frozenset(names if self.pooling is not None else ())

    @property
    def _sizes(self) -> dict[str, int]:
        """Sizes of the parts of the projection, by the place where each enters the decoder."""
        backbone = self.backbone
        sizes = {"embedding": backbone.width, "memory": backbone.n_layers * backbone.value_width}
        return {place: size for place, size in sizes.items() if self.config.injection in ("both", place)}

    @override
    def projection_size(self) -> int:
        return sum(self._sizes.values())

    @override
    def inject(self, path: LatentPath) -> Injection:
        parts = dict(zip(self._sizes, self.project(path).split(list(self._sizes.values()), dim=-1), strict=True))
        memory = parts.get("memory")
        return Injection(
            embedding=parts.get("embedding"),
            memory=None if memory is None else key_and_value(memory, self.backbone.value_width),
        )

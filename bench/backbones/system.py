"""Systems whose decoder is the backbone: they say what their latent variables add to it."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from typing_extensions import override

from bench.backbones.backbone import Backbone
from bench.backbones.injection import Injection
from bench.batch import Batch, Seeds
from bench.interface import LatentPath, System
from bench.specs import DecodingSpec, SystemConfig


class InjectedSystem(System):
    """A system whose decoder is the backbone with an `Injection`.

    A subclass implements ``encode``, ``sample_prior`` and ``inject``; likelihood and generation are implemented here.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone, config: SystemConfig, conditional: bool = False) -> None:
        super().__init__(backbone.tokenizer, backbone.width, config, conditional, backbone)

    @property
    @override
    def output_layer(self) -> nn.Linear:
        return self.backbone.output_layer

    @abstractmethod
    def inject(self, path: LatentPath) -> Injection:
        """Returns what the B x n samples of a path add to the decoder, one row per sample, text by text."""

    @override
    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return self.backbone.log_likelihood(batch, self.inject(path), path.n)

    @override
    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        # Without conditions all B x n samples are rows of one call.
        n = path.n if condition is not None else path.n * len(path.log_q)
        return self.backbone.generate(n, self.inject(path), decoding, seed, condition)

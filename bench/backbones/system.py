"""Systems that only say what their latent variables add to the decoder; the backbone does the rest."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from bench.backbones.backbone import Backbone
from bench.backbones.injection import Injection
from bench.batch import Batch, Seeds
from bench.interface import LatentPath, System
from bench.specs import DecodingSpec, SystemConfig


class InjectedSystem(System):
    """A system whose decoder is the backbone with an `Injection`.

    Implement ``encode``, ``sample_prior`` and ``inject``; likelihood and generation come with them.

    Attributes:
        backbone: the Transformer stack.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone, config: SystemConfig, conditional: bool = False) -> None:
        super().__init__(backbone.tokenizer, backbone.width, config, conditional, backbone)

    @property
    def output_layer(self) -> nn.Linear:
        """The backbone's."""
        return self.backbone.output_layer

    @abstractmethod
    def inject(self, path: LatentPath) -> Injection:
        """Returns what the B x n samples of a path add to the decoder, one row per sample, text by text."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns log p(x | z, c) for each sample (B x n)."""
        return self.backbone.log_likelihood(batch, self.inject(path), path.n)

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        """Decodes one text per sample."""
        # Without conditions the backbone knows of rows only: all samples of all texts are samples of one.
        n = path.n if condition is not None else path.n * len(path.log_q)
        return self.backbone.generate(n, self.inject(path), decoding, seed, condition)

"""DELLA (Hu et al., NAACL 2022): a latent variable in every layer, fused into the values of its attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.backbones import AttentionPooling, Backbone, InjectedSystem, Injection
from bench.errors import BenchError
from bench.interface import Batch, Generators, LatentPath, Posterior
from della.configuration import Della2022Config, DellaConfig
from della.fusion import TensorProductFusion
from della.latents import HierarchicalPosterior, LatentHierarchy


class Della(InjectedSystem):
    """Layer-wise latent variables on the shared stack of encoder and decoder (section 4 of the paper).

    The encoder pass uses the plain value projections, the decoder pass the fused ones.
    """

    Config = DellaConfig
    config: DellaConfig
    paper_decoding = "beam:beams=10"

    def __init__(self, backbone: Backbone, config: DellaConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        last = backbone.n_layers if config.last_layer is None else config.last_layer
        if not config.first_layer <= last <= backbone.n_layers:
            raise BenchError(
                f"della: latent layers {config.first_layer} to {last} do not fit a backbone of {backbone.n_layers}."
            )
        self.layers = tuple(range(config.first_layer - 1, last))
        self.groups = (config.latent_size,) * len(self.layers)
        pools = config.representation == "attention_pool"
        self.pooling = nn.ModuleList(AttentionPooling(backbone.width) for _ in self.layers) if pools else None
        n, size, std = len(self.layers), config.latent_size, backbone.initial_std
        self.hierarchy = LatentHierarchy(
            n,
            size,
            backbone.width,
            config.affine,
            config.clamp,
            std,
            prior_sees_condition=conditional,
            posterior_sees_condition=conditional and config.posterior_sees_condition,
        )
        self.fusion = TensorProductFusion(n, backbone.width, size, config.rank, config.affine, config.fusion_init, std)
        backbone.gate_layers(self.layers)
        if not config.tied_head:
            backbone.untie_head()

    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z_1 .. z_L | x, c) after one bidirectional pass over each of x and c."""
        conditions = None if batch.condition is None else self._represent(batch.condition)
        return HierarchicalPosterior(
            self.hierarchy,
            self.hierarchy.posterior_features(self._represent(batch), conditions),
            self.hierarchy.prior_features(conditions, len(batch)),
        )

    def _represent(self, batch: Batch) -> Tensor:
        """Returns x^(l) of every layer that carries a latent variable (B x L x width)."""
        hidden = self.backbone.encode(batch).layers
        outputs = [hidden[layer] for layer in self.layers]
        if self.pooling is None:
            return torch.stack([output[:, 0] for output in outputs], dim=1)
        pooled = [pool(output, batch.mask) for pool, output in zip(self.pooling, outputs, strict=True)]
        return torch.stack(pooled, dim=1)

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws z_1 .. z_L from the chain of priors."""
        conditions = None if condition is None else self._represent(condition)
        features = self.hierarchy.prior_features(conditions, 1 if condition is None else len(condition))
        return self.hierarchy.sample_prior(features, n, generator)

    def inject(self, path: LatentPath) -> Injection:
        """Returns the gates of every sample, and the value maps that all samples share."""
        values, bias = self.fusion.values()
        gates = self.fusion.gates(torch.stack(path.z, dim=2).flatten(0, 1))
        return Injection(gate=gates, values=values, value_bias=bias, layers=self.layers)


class Della2022(Della):
    """DELLA as released: biases, clamped statistics, attention pooling, an untied head, KL averaged over layers.

    Its objective averages the KL over layers; its scores are exact like everybody's.
    """

    Config = Della2022Config
    default_objective = "two-epoch-cycle+mean-groups"

"""DELLA (Hu et al., NAACL 2022): a latent variable in every layer, fused into the values of its attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.backbones import AttentionPooling, Backbone, InjectedSystem, Injection
from bench.batch import Batch, Generators, Seeds
from bench.errors import BenchError
from bench.interface import LatentPath, Posterior
from bench.reading import parse_as
from bench.specs import DecodingSpec, RunSpec
from della.configuration import Della2022Config, DellaConfig, MemoryTokenConfig, SharedLatentConfig
from della.fusion import FUSIONS
from della.latents import HierarchicalPosterior, LatentHierarchy
from della.pairs import JoinedPairs, SeparatePairs


class Della(InjectedSystem):
    """Layer-wise latent variables on the shared stack of encoder and decoder (section 4 of the paper).

    The encoder pass uses the plain value projections, the decoder pass the fused ones.
    """

    Config = DellaConfig
    config: DellaConfig
    default_objective = "two-epoch-cycle"

    def __init__(self, backbone: Backbone, config: DellaConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        layers = config.latent_layers(backbone.n_layers)
        shared = config.latents == "shared"
        self.sources = layers[-1:] if shared else layers
        self.groups = (config.latent_size,) * len(self.sources)
        pools = config.representation == "attention_pool"
        self.pooling = nn.ModuleList(AttentionPooling(backbone.width) for _ in self.sources) if pools else None
        self.hierarchy = LatentHierarchy(
            len(self.sources),
            config.latent_size,
            backbone.width,
            config.affine,
            config.clamp,
            backbone.initial_std,
            chained=config.dependence == "chained" and not shared,
            prior_sees_condition=conditional,
            posterior_sees_condition=conditional and config.posterior_sees_condition,
        )
        self.fusion = FUSIONS[config.fusion](layers, backbone.width, config, backbone.initial_std)
        backbone.gate_layers(layers)
        backbone.give_memory(layers)
        if not config.tied_head:
            backbone.untie_head()
        tokens = backbone.tokenizer
        self.pairs = JoinedPairs(tokens.pad, tokens.eos) if config.pairs == "joined" else SeparatePairs()

    @classmethod
    def supports(cls, spec: RunSpec) -> str | None:
        """Returns why the options do not fit the backbone; a pretrained one shows its depth when it is built."""
        config = parse_as(cls.Config, spec.system.options, "options")
        if spec.task.conditional and config.pairs == "joined" and spec.backbone.kind != "decoder-only":
            return "source and text are joined only where one stack reads both"
        if spec.backbone.source != "scratch":
            return None
        try:
            config.latent_layers(spec.backbone.layers)
        except BenchError as error:
            return str(error)
        return None

    def idle_parameters(self) -> frozenset[str]:
        """Names what the hierarchy's zero initial state leaves without effect."""
        return frozenset(f"hierarchy.{name}" for name in self.hierarchy.idle_parameters())

    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z_1 .. z_L | x, c) after one bidirectional pass over each of x and c."""
        batch = self.pairs.to_encode(batch)
        conditions = None if batch.condition is None else self._represent(batch.condition)
        return HierarchicalPosterior(
            self.hierarchy,
            self.hierarchy.posterior_features(self._represent(batch), conditions),
            self.hierarchy.prior_features(conditions, len(batch)),
            self.posterior_mean,
        )

    def _represent(self, batch: Batch) -> Tensor:
        """Returns x^(l) of every layer that a latent variable is inferred from (B x G x width)."""
        hidden = self.backbone.encode(batch).layers
        outputs = [hidden[layer] for layer in self.sources]
        if self.pooling is None:
            return torch.stack([output[:, 0] for output in outputs], dim=1)
        pooled = [pool(output, batch.mask) for pool, output in zip(self.pooling, outputs, strict=True)]
        return torch.stack(pooled, dim=1)

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws z_1 .. z_L from the chain of priors."""
        conditions = None if condition is None else self._represent(self.pairs.source_to_encode(condition))
        features = self.hierarchy.prior_features(conditions, 1 if condition is None else len(condition))
        return self.hierarchy.sample_prior(features, n, generator)

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns log p(x | z, c) for each sample (B x n)."""
        return super().log_likelihood(self.pairs.to_decode(batch), path)

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        """Decodes one text per sample."""
        source = None if condition is None else self.pairs.source_to_decode(condition)
        return super().generate(path, source, decoding, seed)

    def inject(self, path: LatentPath) -> Injection:
        """Fuses each layer's latent variable, or the one of all layers, with its value vectors."""
        z = torch.stack(path.z, dim=2).flatten(0, 1)
        return self.fusion.inject(z.expand(-1, len(self.fusion.layers), -1))


class Della2022(Della):
    """DELLA as released: biases, clamped statistics, attention pooling, an untied head, KL averaged over layers.

    Its objective averages the KL over layers; its scores are exact like everybody's.
    """

    Config = Della2022Config
    default_objective = "two-epoch-cycle+mean-groups"


class DellaMemory(Della):
    """DELLA without the low-rank tensor product (`-LTP` in Table 4): each z_l is a memory token of its layer.

    The paper does not say what takes the product's place there; section 4.2 names the memory token as the simpler
    choice.
    """

    Config = MemoryTokenConfig


class DellaShared(Della):
    """DELLA without layer-wise latent variables (`-LW` in Table 4): one, from the last layer, fused into all."""

    Config = SharedLatentConfig

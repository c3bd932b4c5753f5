"""DELLA (Hu et al., NAACL 2022): a latent variable in every layer, fused into the value vectors of its attention.

One text x, perhaps with a condition c, goes through `Della` in four steps:

    encode   one bidirectional pass gives x^(l) and c^(l), the representations in layer l    section 4.1
    chain    z_{<l} = tanh(W_hh z_{<l-1} + W_ih z_{l-1})                                     Eq. 7
             p(z_l | z_{<l}, c) and q(z_l | z_{<l}, x, c), both Gaussian                     Eq. 8, 11, 12
             KL = sum_l KL(q(z_l | z_{<l}, x, c) || p(z_l | z_{<l}, c))                      Eq. 6
    fuse     v_i becomes (sum_j W_v^j v_i) * (sum_j W_z^j z_l) in layer l                    Eq. 9
    decode   the causal pass over these value vectors gives log p(x | z, c)

The chain is in ``della.latents``, everything else is here: the options, the model, the variants of Table 4 and the
fusions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from typing_extensions import override

from bench.backbones import AttentionPooling, Backbone, InjectedSystem, Injection
from bench.batch import Batch, Generators, Seeds
from bench.errors import BenchError
from bench.interface import LatentPath, Posterior
from bench.reading import parse_as
from bench.specs import DecodingSpec, RunSpec, SystemConfig
from della.latents import HierarchicalPosterior, LatentHierarchy

# Options

FusionName = Literal["tensor_product", "low_rank", "add", "memory", "none"]
FusionInit = Literal["identity", "neutral", "normal"]

LAYERS = re.compile(r"(?P<first>\d+)(-(?P<last>\d+))?(/(?P<depth>\d+))?")


class DellaConfig(SystemConfig):
    """Options of DELLA; the defaults are the paper's (section 4), other values its variants (Table 4, Fig. 2).

    Attributes:
        latent_size: dimensions of each latent variable.
        layers: layers that carry a latent variable: ``all``, or for example ``4-9``, counted from 1; ``4-9/12`` means
            layers 4 to 9 of twelve, scaled to the depth of the backbone.
        latents: ``layer_wise``, or one latent variable ``shared`` by all these layers, inferred from the last of them.
        dependence: ``chained``: each latent variable depends on those below it (Eq. 7); ``independent``: on none.
        fusion: how a latent variable reaches the value vectors of its layer; see ``Fusion``.
        representation: x^(l): the first token's state (section 4.1), or attention pooling over all tokens.
        rank: pairs of matrices in the fusion. Eq. 9 multiplies two SUMS of linear maps, and a sum of linear maps is one
            linear map: the rank changes the number of parameters and the pace of training, not which functions the
            model can express. Only the rank of ``low_rank`` does.
        affine: biases in the latent networks and in the fusion; Eq. 7 to 9 have none. With biases p(z_1) is learned.
        clamp: bound on the absolute values of means and log-variances of prior and posterior; None for no bound.
        tied_head: the output layer is the token embedding, as in GPT-2.
        fusion_init: ``identity`` leaves the backbone's value vectors unchanged at the start (W_v = I), with gates of
            unit variance; ``neutral`` gives the gates a bias too, and starts them at 1 whatever z is: the decoder is
            exactly the backbone, and learns to use z; ``normal`` draws every factor like the backbone's weights,
            N(0, 0.02²) at GPT-2's width, which destroys the value vectors of a pretrained backbone.
        posterior_sees_condition: on conditional tasks q depends on c too (Eq. 12).
        pairs: how source and text of a conditional task are read: ``separate``, each between its own BOS and EOS; or
            ``joined``, as one sequence with the text's BOS between them, in encoder and decoder.
        normalised: each state is scaled to a root mean square of 1 before ``representation`` reads it. In the deeper
            layers of a pretrained stack the first token's state is so large that the posterior overflows without it.
    """

    latent_size: int = Field(32, ge=1)
    layers: str = "all"
    latents: Literal["layer_wise", "shared"] = "layer_wise"
    dependence: Literal["chained", "independent"] = "chained"
    fusion: FusionName = "tensor_product"
    representation: Literal["first_token", "attention_pool"] = "first_token"
    rank: int = Field(1, ge=1)
    affine: bool = False
    clamp: float | None = Field(None, gt=0)
    tied_head: bool = True
    fusion_init: FusionInit = "identity"
    posterior_sees_condition: bool = True
    pairs: Literal["separate", "joined"] = "separate"
    normalised: bool = Field(False, exclude_if=lambda normalised: not normalised)

    @field_validator("layers", mode="before")
    @classmethod
    def _is_a_range(cls, value: Any) -> str:
        text = str(value)  # a single layer is parsed as a number
        if text == "all":
            return text
        if (match := LAYERS.fullmatch(text)) is None:
            raise ValueError("write all, 4, 4-9 or 4-9/12")
        first = int(match["first"])
        last = int(match["last"] or first)
        if not 1 <= first <= last <= int(match["depth"] or last):
            raise ValueError("no backbone has such layers; they are counted from 1, upwards")
        return text

    @model_validator(mode="after")
    def _can_start_neutral(self) -> Self:
        if self.fusion_init == "neutral" and self.fusion == "memory":
            raise ValueError("fusion_init=neutral: a memory token always takes a share of the attention")
        if self.fusion_init == "neutral" and not self.tied_head:
            raise ValueError("fusion_init=neutral: tied_head=false draws a new output layer")
        return self

    def latent_layers(self, depth: int) -> tuple[int, ...]:
        """Returns the 0-based numbers of the layers that carry a latent variable, in a backbone of ``depth`` layers.

        Raises:
            BenchError: the backbone has no such layers, or a scaled range would cut a layer in two.
        """
        match = LAYERS.fullmatch(self.layers)
        if match is None:
            return tuple(range(depth))
        first = int(match["first"])
        last, of = int(match["last"] or first), int(match["depth"] or depth)
        if last > of:
            raise BenchError(f"there are no latent layers {self.layers} in {of} layers.")
        start, stop = (first - 1) * depth, last * depth
        if start % of or stop % of:
            raise BenchError(f"latent layers {self.layers} are no whole layers of a backbone of {depth}.")
        return tuple(range(start // of, stop // of))


# The model


class Della(InjectedSystem):
    """Layer-wise latent variables on one Transformer stack that encodes and decodes (section 4 of the paper).

    The encoder pass uses the plain value projections, the decoder pass the fused ones.
    """

    Config = DellaConfig
    config: DellaConfig
    default_objective = "two-epoch-cycle"

    def __init__(self, backbone: Backbone, config: DellaConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        layers = config.latent_layers(backbone.n_layers)
        shared = config.latents == "shared"
        self.inferred_from = layers[-1:] if shared else layers
        n_groups = len(self.inferred_from)
        self.groups = (config.latent_size,) * n_groups
        pools = config.representation == "attention_pool"
        self.pooling = nn.ModuleList(AttentionPooling(backbone.width) for _ in range(n_groups)) if pools else None
        self.hierarchy = LatentHierarchy(
            n_groups,
            config.latent_size,
            backbone.width,
            config.affine,
            config.clamp,
            backbone.initial_std,
            chained=config.dependence == "chained" and not shared,
            prior_sees_condition=conditional,
            posterior_sees_condition=conditional and config.posterior_sees_condition,
        )
        self.fusion = FUSIONS[config.fusion](layers, backbone.value_width, config, backbone.initial_std)
        if not config.tied_head:
            backbone.untie_head()
        self.joined = config.pairs == "joined"

    @override
    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z_1 .. z_L | x, c), Eq. 8 and 12, after one bidirectional pass over each of x and c."""
        batch = self._to_encode(batch)
        c = None if batch.condition is None else self._representations(batch.condition)
        return HierarchicalPosterior(
            self.hierarchy,
            self.hierarchy.posterior_text_part(self._representations(batch), c),
            self.hierarchy.prior_condition_part(c, len(batch)),
            self.posterior_mean,
        )

    def _representations(self, batch: Batch) -> Tensor:
        """Returns x^(l) of every layer that a latent variable is inferred from (B x G x width)."""
        layers = self.backbone.encode(batch).layers
        states = [layers[layer] for layer in self.inferred_from]
        if self.config.normalised:
            states = [nn.functional.rms_norm(state, state.shape[-1:]) for state in states]
        if self.pooling is None:
            return torch.stack([layer[:, 0] for layer in states], dim=1)
        return torch.stack([pool(x, batch.mask) for pool, x in zip(self.pooling, states, strict=True)], dim=1)

    @override
    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        return self.hierarchy.sample(n, generator, self._condition_part(condition))

    @override
    def path_of(self, z: Sequence[Tensor], condition: Batch | None) -> LatentPath:
        return self.hierarchy.path_of(z, self._condition_part(condition))

    def _condition_part(self, condition: Batch | None) -> Tensor:
        """Returns ``LatentHierarchy.prior_condition_part`` of every condition, or once without."""
        c = None if condition is None else self._representations(self._source_to_encode(condition))
        return self.hierarchy.prior_condition_part(c, 1 if condition is None else len(condition))

    @override
    def inject(self, path: LatentPath) -> Injection:
        """Fuses each layer's latent variable, or the shared one, with the layer's value vectors (Eq. 9)."""
        z = torch.stack(path.z, dim=2).flatten(0, 1)
        return self.fusion.inject(z.expand(-1, len(self.fusion.layers), -1))

    @override
    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(replace(batch, condition=self.source_to_decode(batch.condition)), path)

    @override
    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        return super().generate(path, self.source_to_decode(condition), decoding, seed)

    def _to_encode(self, batch: Batch) -> Batch:
        """Returns what the encoder reads for x, with what it reads for c as condition.

        Separate pairs are read as they are in a batch (the paper). Joined pairs are [source BOS text EOS] and [source
        EOS]: with a tokenizer whose BOS is its EOS, </s>, the sequences of the released code.
        """
        if not self.joined or batch.condition is None:
            return batch
        pairs = zip(self._without_frame(batch.condition), batch.unpadded(), strict=True)
        joined = [source + text for source, text in pairs]
        return self._collated(joined, batch, self._source_to_encode(batch.condition))

    def _source_to_encode(self, source: Batch) -> Batch:
        return self._collated([ids[1:] for ids in source.unpadded()], source) if self.joined else source

    def source_to_decode(self, source: Batch | None) -> Batch | None:
        """Returns what the decoder reads before the text."""
        if source is None or not self.joined:
            return source
        return self._collated(self._without_frame(source), source)

    def _without_frame(self, source: Batch) -> list[list[int]]:
        """Returns the ids between BOS and EOS; a source that was cut has no EOS."""
        return [ids[1:-1] if ids[-1] == self.tokenizer.eos else ids[1:] for ids in source.unpadded()]

    def _collated(self, ids: list[list[int]], original: Batch, condition: Batch | None = None) -> Batch:
        return Batch.collate(ids, self.tokenizer.pad, condition).to(original.ids.device)

    @classmethod
    @override
    def supports(cls, spec: RunSpec) -> str | None:
        """Checks the options against the backbone; the depth of a pretrained backbone is checked when it is built."""
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

    @override
    def idle_parameters(self) -> frozenset[str]:
        return frozenset(f"hierarchy.{name}" for name in self.hierarchy.idle_parameters())


# Variants


class Della2022Config(DellaConfig):
    """Options of DELLA as released, where they differ from the paper's."""

    representation: Literal["first_token", "attention_pool"] = "attention_pool"
    rank: int = Field(4, ge=1)
    affine: bool = True
    clamp: float | None = Field(5.0, gt=0)
    tied_head: bool = False
    fusion_init: FusionInit = "normal"
    posterior_sees_condition: bool = False


class Della2022(Della):
    """DELLA as released: biases, clamped statistics, attention pooling, an untied head, KL averaged over layers.

    Its objective averages the KL over layers; its scores are exact, as for every system.
    """

    Config = Della2022Config
    default_objective = "two-epoch-cycle+mean-groups"


class MemoryTokenConfig(DellaConfig):
    """Options of DELLA without the low-rank tensor product."""

    fusion: FusionName = "memory"


class DellaMemory(Della):
    """DELLA without the low-rank tensor product (`-LTP` in Table 4): each z_l is a memory token of its layer.

    The paper does not say what replaces the product; section 4.2 names the memory token as the simpler choice.
    """

    Config = MemoryTokenConfig


class SharedLatentConfig(DellaConfig):
    """Options of DELLA without layer-wise latent variables."""

    latents: Literal["layer_wise", "shared"] = "shared"


class DellaShared(Della):
    """DELLA without layer-wise latent variables (`-LW` in Table 4): one, from the last layer, fused into all."""

    Config = SharedLatentConfig


# Fusion


class Fusion(nn.Module):
    """How the latent variables of L layers reach the value vectors of the decoder.

    In layer l, with value vectors v_i and latent variable z, j = 1 .. rank, * element by element:

        tensor_product  (sum_j W_v^j v_i) * (sum_j W_z^j z)     Eq. 9
        low_rank        sum_j (W_v^j v_i * W_z^j z)             Liu et al. 2018
        add             sum_j W_v^j v_i + sum_j W_z^j z
        memory          v_i, and W_z z as key and value of one more position (section 3.3)
        none            v_i

    A sum of linear maps is one linear map, so the sums of Eq. 9 are formed before any token is multiplied: W_v is
    merged into the value projection of the layer. The gate W_z z is the same at all positions, so it multiplies the
    attention output instead of every value vector; what `add` adds is treated likewise. Only `low_rank` costs products
    per token.
    How an `Injection` reaches the attention is explained in ``bench.backbones.injection``.

    Args:
        layers: 0-based numbers of the layers.
        width: width of value vectors (d).
        config: options: latent size (D), rank, biases and initial values.
        initial_std: standard deviation of the backbone's weights before training.
    """

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__()
        self.layers = layers

    def inject(self, z: Tensor) -> Injection:
        """Returns what latent variables (N x L x D) add to the decoder; here nothing, so only the KL trains them."""
        return Injection()


class MemoryToken(Fusion):
    """Each layer's W_z z is key and value of one more position, without the layer's projections, as in `memory`."""

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__(layers, width, config, initial_std)
        self.latent_factor = nn.Parameter(torch.empty(len(layers), width, config.latent_size))
        self.latent_bias = nn.Parameter(torch.zeros(len(layers), width)) if config.affine else None
        nn.init.normal_(self.latent_factor, std=initial_std)

    @override
    def inject(self, z: Tensor) -> Injection:
        token = torch.einsum("nlk,ldk->nld", z, self.latent_factor)
        if self.latent_bias is not None:
            token = token + self.latent_bias
        return Injection(memory=token[:, :, None].expand(-1, -1, 2, -1), layers=self.layers)


class TensorProduct(Fusion):
    """Eq. 9: ``rank`` maps W_v^j of the value vectors and as many maps W_z^j of the latent variable, both summed.

    ``identity`` starts with maps W_v^j that sum to I; ``neutral`` also with W_z^j = 0 and with biases that leave the
    value vectors as they are; ``normal`` draws all weights from N(0, initial_std²). ``affine`` gives every map a bias;
    the released code has two per map, whose sum is what matters.
    """

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__(layers, width, config, initial_std)
        n, rank, size = len(layers), config.rank, config.latent_size
        self.text_factor = nn.Parameter(torch.empty(n, rank, width, width))
        self.latent_factor = nn.Parameter(torch.empty(n, rank, width, size))
        self.text_bias = nn.Parameter(torch.zeros(n, rank, width)) if config.affine else None
        neutral = config.fusion_init == "neutral"
        self.latent_bias = nn.Parameter(torch.zeros(n, rank, width)) if config.affine or neutral else None
        if config.fusion_init == "normal":
            # The released code appends a constant 1 to v and z; its weights are drawn like all others.
            for factor in (self.text_factor, self.latent_factor, self.text_bias, self.latent_bias):
                if factor is not None:
                    nn.init.normal_(factor, std=initial_std)
            return
        with torch.no_grad():
            self.text_factor.copy_((torch.eye(width) / rank).expand_as(self.text_factor))
        if self.latent_bias is not None and neutral:
            nn.init.zeros_(self.latent_factor)
            nn.init.constant_(self.latent_bias, self.neutral_bias(rank))
        else:
            # sum_j W_z^j z has a standard deviation of 1 at first, or, where it is added, that of a value vector.
            std = initial_std * width**0.5 if config.fusion == "add" else 1.0
            nn.init.normal_(self.latent_factor, std=std * (rank * size) ** -0.5)

    def neutral_bias(self, rank: int) -> float:
        """Returns the bias of every map of z with which gates, or shifts, change nothing."""
        return 1 / rank

    @override
    def inject(self, z: Tensor) -> Injection:
        gate = torch.einsum("nlk,ldk->nld", z, self.latent_factor.sum(1))
        if self.latent_bias is not None:
            gate = gate + self.latent_bias.sum(1)
        bias = None if self.text_bias is None else self.text_bias.sum(1)
        return Injection(gate=gate, values=self.text_factor.sum(1), value_bias=bias, layers=self.layers)


class Addition(TensorProduct):
    """The same maps, added in place of multiplied."""

    @override
    def neutral_bias(self, rank: int) -> float:
        return 0.0

    @override
    def inject(self, z: Tensor) -> Injection:
        product = super().inject(z)
        return replace(product, gate=None, shift=product.gate)


class LowRankProduct(TensorProduct):
    """The low-rank product of Liu et al. 2018: ``rank`` maps of the value vectors, each with its own gate."""

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__(layers, width, config, initial_std)
        if config.fusion_init == "neutral":
            # Equal maps with equal gates would have equal gradients, and stay equal. The sum remains the identity.
            noise = initial_std * torch.randn_like(self.text_factor)
            self.text_factor.data += noise - noise.mean(1, keepdim=True)

    @override
    def neutral_bias(self, rank: int) -> float:
        return 1.0

    @override
    def inject(self, z: Tensor) -> Injection:
        gates = torch.einsum("nlk,lrdk->nlrd", z, self.latent_factor)
        if self.latent_bias is not None:
            gates = gates + self.latent_bias
        bias = None if self.text_bias is None else self.text_bias.flatten(1)
        return Injection(
            gate=gates.flatten(2), values=self.text_factor.flatten(1, 2), value_bias=bias, layers=self.layers
        )


FUSIONS: Mapping[FusionName, type[Fusion]] = {
    "tensor_product": TensorProduct,
    "low_rank": LowRankProduct,
    "add": Addition,
    "memory": MemoryToken,
    "none": Fusion,
}

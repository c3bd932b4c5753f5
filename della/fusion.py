"""How latent variables reach the value vectors of the decoder's layers: Eq. 9 of DELLA, and what it is compared with.

In layer l, with value vectors v_i and latent variable z, j = 1 .. rank, * element by element:

    tensor_product  (sum_j W_v^j v_i) * (sum_j W_z^j z)     Eq. 9
    low_rank        sum_j (W_v^j v_i * W_z^j z)             Liu et al. 2018
    add             sum_j W_v^j v_i + sum_j W_z^j z
    memory          v_i, and W_z z as key and value of one more position (section 3.3)
    none            v_i

A sum of linear maps is one linear map, so the sums of Eq. 9 are formed before they meet any token: W_v goes into the
value projection of the layer, and the gate, the same at all positions, multiplies the attended values. What is added
to every value vector is added to the attended values likewise. Only `low_rank` costs products per token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bench.backbones import Injection
from della.configuration import DellaConfig, FusionName


class Fusion(nn.Module, ABC):
    """What the latent variables of L layers do to the decoder.

    Args:
        layers: 0-based numbers of the layers.
        width: of value vectors (d).
        config: gives the size of each layer's latent variable (D), the rank, whether there are biases, and the start.
        initial_std: standard deviation of the backbone's weights before any training.
    """

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__()
        self.layers = layers

    @abstractmethod
    def inject(self, z: Tensor) -> Injection:
        """Returns what latent variables (N x L x D) add to the decoder."""


class NoFusion(Fusion):
    """The decoder does not see the latent variables: nothing but the KL can teach them."""

    def inject(self, z: Tensor) -> Injection:
        """Adds nothing."""
        return Injection()


class MemoryToken(Fusion):
    """Each layer's latent variable is the key and value of one more position, unprojected, as in `memory`."""

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__(layers, width, config, initial_std)
        self.latent_factor = nn.Parameter(torch.empty(len(layers), width, config.latent_size))
        self.latent_bias = nn.Parameter(torch.zeros(len(layers), width)) if config.affine else None
        nn.init.normal_(self.latent_factor, std=initial_std)

    def inject(self, z: Tensor) -> Injection:
        """Returns a position for every layer."""
        token = torch.einsum("nlk,ldk->nld", z, self.latent_factor)
        if self.latent_bias is not None:
            token = token + self.latent_bias
        return Injection(memory=token[:, :, None].expand(-1, -1, 2, -1), layers=self.layers)


class FactorFusion(Fusion):
    """Fusions of ``rank`` maps of the value vectors with as many of the latent variable.

    With the start ``identity`` the maps of value vectors sum to I, and those of z have the scale of
    ``latent_scale``; with ``normal`` all weights are drawn from N(0, initial_std²). ``affine`` gives every map a bias;
    the released code has two, of which only the sum matters.
    """

    def __init__(self, layers: tuple[int, ...], width: int, config: DellaConfig, initial_std: float) -> None:
        super().__init__(layers, width, config, initial_std)
        n, rank, size = len(layers), config.rank, config.latent_size
        self.text_factor = nn.Parameter(torch.empty(n, rank, width, width))
        self.latent_factor = nn.Parameter(torch.empty(n, rank, width, size))
        self.text_bias = nn.Parameter(torch.zeros(n, rank, width)) if config.affine else None
        self.latent_bias = nn.Parameter(torch.zeros(n, rank, width)) if config.affine else None
        if config.fusion_init == "identity":
            with torch.no_grad():
                self.text_factor.copy_((torch.eye(width) / rank).expand_as(self.text_factor))
            nn.init.normal_(self.latent_factor, std=self.latent_scale(width, initial_std) * (rank * size) ** -0.5)
        else:
            # The constant 1 that the released code appends to v and z has a weight drawn like every other.
            for factor in (self.text_factor, self.latent_factor, self.text_bias, self.latent_bias):
                if factor is not None:
                    nn.init.normal_(factor, std=initial_std)

    @staticmethod
    def latent_scale(width: int, initial_std: float) -> float:
        """Returns the standard deviation at the start of what z is mapped to, for z from N(0, I)."""
        return 1.0

    def summed(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns the map of z (N x L x d), and that of value vectors (L x d x d) with its bias (L x d)."""
        latent = torch.einsum("nlk,ldk->nld", z, self.latent_factor.sum(1))
        if self.text_bias is None or self.latent_bias is None:
            return latent, self.text_factor.sum(1), None
        return latent + self.latent_bias.sum(1), self.text_factor.sum(1), self.text_bias.sum(1)


class TensorProduct(FactorFusion):
    """Eq. 9: one map of the value vectors, one gate."""

    def inject(self, z: Tensor) -> Injection:
        """Returns the gates of every sample, and the value maps that all samples share."""
        gate, values, bias = self.summed(z)
        return Injection(gate=gate, values=values, value_bias=bias, layers=self.layers)


class Addition(FactorFusion):
    """The sum in place of the product, of the same maps."""

    @staticmethod
    def latent_scale(width: int, initial_std: float) -> float:
        """Returns such a scale that z adds at first as much as there is in a value vector, rather than drown it."""
        return initial_std * width**0.5

    def inject(self, z: Tensor) -> Injection:
        """Returns the shifts of every sample, and the value maps that all samples share."""
        shift, values, bias = self.summed(z)
        return Injection(shift=shift, values=values, value_bias=bias, layers=self.layers)


class LowRankProduct(FactorFusion):
    """The product of rank ``rank`` of Liu et al. 2018: as many maps of the value vectors, each with its gate."""

    def inject(self, z: Tensor) -> Injection:
        """Returns the gates of every sample, and the value maps that all samples share."""
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
    "none": NoFusion,
}
"""Every fusion by its name in the configuration."""

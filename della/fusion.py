"""The low-rank tensor product of value vectors and latent variables (Eq. 9 of DELLA).

    v~_i = (sum_j W_v^j v_i) * (sum_j W_z^j z_l)        j = 1 .. rank, * element by element

A sum of linear maps is one linear map, so both sums are formed before they meet any token: W_v goes into the value
projection of the layer, and the gate sum_j W_z^j z_l, the same at all positions, multiplies the attended values.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class TensorProductFusion(nn.Module):
    """The factors of the fused layers.

    Args:
        n_layers: number of fused layers L.
        width: of value vectors (d).
        latent_size: of each layer's latent variable (D).
        rank: pairs of factors per layer.
        affine: a bias in every factor; the released code has two, of which only the sum matters.
        init: ``identity``: sum_j W_v^j = I and gates of unit variance; ``normal``: weights from N(0, initial_std²).
        initial_std: standard deviation of the weights of ``normal``.
    """

    def __init__(
        self,
        n_layers: int,
        width: int,
        latent_size: int,
        rank: int,
        affine: bool,
        init: Literal["identity", "normal"],
        initial_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.text_factor = nn.Parameter(torch.empty(n_layers, rank, width, width))
        self.latent_factor = nn.Parameter(torch.empty(n_layers, rank, width, latent_size))
        self.text_bias = nn.Parameter(torch.zeros(n_layers, rank, width)) if affine else None
        self.latent_bias = nn.Parameter(torch.zeros(n_layers, rank, width)) if affine else None
        if init == "identity":
            with torch.no_grad():
                self.text_factor.copy_((torch.eye(width) / rank).expand_as(self.text_factor))
            nn.init.normal_(self.latent_factor, std=(rank * latent_size) ** -0.5)
        else:
            # The constant 1 that the released code appends to v and z has a weight drawn like every other.
            for factor in (self.text_factor, self.latent_factor, self.text_bias, self.latent_bias):
                if factor is not None:
                    nn.init.normal_(factor, std=initial_std)

    def values(self) -> tuple[Tensor, Tensor | None]:
        """Returns the map of the value vectors of each layer (L x d x d) and its bias (L x d)."""
        return self.text_factor.sum(1), None if self.text_bias is None else self.text_bias.sum(1)

    def gates(self, z: Tensor) -> Tensor:
        """Returns the gates (N x L x d) of latent variables (N x L x D)."""
        gates = torch.einsum("nlk,ldk->nld", z, self.latent_factor.sum(1))
        return gates if self.latent_bias is None else gates + self.latent_bias.sum(1)

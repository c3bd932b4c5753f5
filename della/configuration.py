"""Options of DELLA and of its published variants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.spec import SystemConfig


class DellaConfig(SystemConfig):
    """DELLA as the paper states it (section 4).

    Attributes:
        latent_size: dimensions of each layer's latent variable.
        first_layer: first layer that carries a latent variable, counted from 1.
        last_layer: last one; None for the top layer.
        representation: of the text in each layer: the first token's state (section 4.1), or attention pooling.
        rank: pairs of matrices in the fusion. Eq. 9 multiplies two SUMS of linear maps, each of which is one linear
            map: the rank changes the number of parameters and the pace of training, not what can be expressed.
        affine: biases in the latent networks and in the fusion (Eq. 7 to 9 have none). They also make p(z_1) learned.
        clamp: bound on means and log-variances of prior and posterior; None for no bound.
        tied_head: the output layer is the token embedding, as in GPT-2.
        fusion_init: ``identity`` keeps the backbone's value vectors at the start (W_v = I) with gates of unit
            variance; ``normal`` draws every factor like the backbone's weights, N(0, 0.02²) at GPT-2's width, which
            erases a pretrained value path.
        posterior_sees_condition: on conditional tasks, q depends on c too (Eq. 12).
    """

    latent_size: int = Field(32, ge=1)
    first_layer: int = Field(1, ge=1)
    last_layer: int | None = Field(None, ge=1)
    representation: Literal["first_token", "attention_pool"] = "first_token"
    rank: int = Field(1, ge=1)
    affine: bool = False
    clamp: float | None = Field(None, gt=0)
    tied_head: bool = True
    fusion_init: Literal["identity", "normal"] = "identity"
    posterior_sees_condition: bool = True


class Della2022Config(DellaConfig):
    """DELLA as its authors released it, where that differs from the paper."""

    representation: Literal["first_token", "attention_pool"] = "attention_pool"
    rank: int = Field(4, ge=1)
    affine: bool = True
    clamp: float | None = Field(5.0, gt=0)
    tied_head: bool = False
    fusion_init: Literal["identity", "normal"] = "normal"
    posterior_sees_condition: bool = False

"""Options of DELLA and of its published variants."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from bench.errors import BenchError
from bench.specs import SystemConfig

FusionName = Literal["tensor_product", "low_rank", "add", "memory", "none"]
Latents = Literal["layer_wise", "shared"]
Representation = Literal["first_token", "attention_pool"]
FusionInit = Literal["identity", "normal"]

LAYERS = re.compile(r"(?P<first>\d+)(-(?P<last>\d+))?(/(?P<depth>\d+))?")


class DellaConfig(SystemConfig):
    """DELLA as the paper states it (section 4), and its variants (Table 4, Fig. 2).

    Attributes:
        latent_size: dimensions of each latent variable.
        layers: which layers carry a latent variable: ``all``, or for example ``4-9``, counted from 1; ``4-9/12`` are
            those of twelve, scaled to the depth there is.
        latents: ``layer_wise``, or one ``shared`` by all these layers, inferred from the last of them.
        dependence: ``chained``: each latent variable depends on those below it (Eq. 7); ``independent``: on none.
        fusion: how a latent variable reaches the value vectors of its layer; see ``della.fusion``.
        representation: of the text in each layer: the first token's state (section 4.1), or attention pooling.
        rank: pairs of matrices in the fusion. Eq. 9 multiplies two SUMS of linear maps, each of which is one linear
            map: the rank changes the number of parameters and the pace of training, not what can be expressed; only
            that of ``low_rank`` does.
        affine: biases in the latent networks and in the fusion (Eq. 7 to 9 have none). They also make p(z_1) learned.
        clamp: bound on means and log-variances of prior and posterior; None for no bound.
        tied_head: the output layer is the token embedding, as in GPT-2.
        fusion_init: ``identity`` keeps the backbone's value vectors at the start (W_v = I) with gates of unit
            variance; ``normal`` draws every factor like the backbone's weights, N(0, 0.02²) at GPT-2's width, which
            erases a pretrained value path.
        posterior_sees_condition: on conditional tasks, q depends on c too (Eq. 12).
        pairs: how source and text of a conditional task are read: ``separate``, each between its own begin and end; or
            ``joined``, as one sequence in which the begin of the text parts them, by encoder and decoder alike.
    """

    latent_size: int = Field(32, ge=1)
    layers: str = "all"
    latents: Latents = "layer_wise"
    dependence: Literal["chained", "independent"] = "chained"
    fusion: FusionName = "tensor_product"
    representation: Representation = "first_token"
    rank: int = Field(1, ge=1)
    affine: bool = False
    clamp: float | None = Field(None, gt=0)
    tied_head: bool = True
    fusion_init: FusionInit = "identity"
    posterior_sees_condition: bool = True
    pairs: Literal["separate", "joined"] = "separate"

    @field_validator("layers", mode="before")
    @classmethod
    def _is_a_range(cls, value: Any) -> str:
        text = str(value)  # one layer is read as a number
        if text == "all":
            return text
        if (found := LAYERS.fullmatch(text)) is None:
            raise ValueError("write all, 4, 4-9 or 4-9/12")
        first = int(found["first"])
        last = int(found["last"] or first)
        if not 1 <= first <= last <= int(found["depth"] or last):
            raise ValueError("no backbone has such layers; they are counted from 1, upwards")
        return text

    def latent_layers(self, depth: int) -> tuple[int, ...]:
        """Returns the 0-based numbers of the layers that carry a latent variable, in a backbone of ``depth`` layers.

        Raises:
            BenchError: there are no such layers, or those of another depth are no whole layers of this one.
        """
        found = LAYERS.fullmatch(self.layers)
        if found is None:
            return tuple(range(depth))
        first = int(found["first"])
        last, of = int(found["last"] or first), int(found["depth"] or depth)
        if last > of:
            raise BenchError(f"there are no latent layers {self.layers} in {of} layers.")
        start, stop = (first - 1) * depth, last * depth
        if start % of or stop % of:
            raise BenchError(f"latent layers {self.layers} are no whole layers of a backbone of {depth}.")
        return tuple(range(start // of, stop // of))


class Della2022Config(DellaConfig):
    """DELLA as its authors released it, where that differs from the paper."""

    representation: Representation = "attention_pool"
    rank: int = Field(4, ge=1)
    affine: bool = True
    clamp: float | None = Field(5.0, gt=0)
    tied_head: bool = False
    fusion_init: FusionInit = "normal"
    posterior_sees_condition: bool = False


class MemoryTokenConfig(DellaConfig):
    """DELLA without the low-rank tensor product."""

    fusion: FusionName = "memory"


class SharedLatentConfig(DellaConfig):
    """DELLA without layer-wise latent variables."""

    latents: Latents = "shared"

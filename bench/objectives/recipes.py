"""Published sequences of stages."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import override

from bench.objectives.part import Recipe


class Li2019(Recipe):
    """An autoencoder first; then its decoder is reset, and free bits and an annealed KL train (Li et al. 2019).

    Attributes:
        target: free nats of a whole text, divided equally among latent dimensions (their ``--fb 2 --target_kl 8``).
        share: of the epochs that train the autoencoder; the authors train it to the end.
    """

    target: float = Field(8.0, ge=0)
    share: float = Field(0.25, gt=0, lt=1)

    @override
    def expand(self) -> str:
        return (
            f"constant:0+then:{self.share},reset=decoder+linear:epochs=10,start=0+free-bits:{self.target},divided=true"
        )


class Optimus2020(Recipe):
    """An autoencoder first; then one cycle of 0, ramp and 1 with free bits in every dimension (Optimus).

    The autoencoder stands for the authors' pre-training on Wikipedia with beta = 0.

    Attributes:
        target: free nats of a dimension, lambda in the paper (0.05 to 1 in its tables).
        share: of the epochs that train the autoencoder.
        beta: KL weight of the autoencoder.
    """

    target: float = Field(0.5, ge=0)
    share: float = Field(0.25, gt=0, lt=1)
    beta: float = Field(0.0, ge=0)

    @override
    def expand(self) -> str:
        return f"constant:{self.beta}+then:{self.share}+zero-linear:cycles=1+free-bits:{self.target}"

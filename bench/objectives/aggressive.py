"""Aggressive training of the inference network, which else lags behind the decoder."""

from __future__ import annotations

from pydantic import Field

from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import InnerLoop


class Aggressive(InnerLoop):
    """Before each step the encoder alone is updated until it has caught up (He et al. 2019, Algorithm 1).

    Updates go over random batches, the first over the step's own, as long as the loss per token, looked at every
    ``look`` updates, falls. The step itself then leaves the encoder alone. Once mutual information on validation texts
    does not rise over an epoch, training goes on as usual, for good. The encoder is what q(z | x) uses, and neither
    p(x | z) nor p(z): on a stack that encoder and decoder share, only what is behind the stack.

    Attributes:
        look: updates between two looks at the loss.
        at_most: updates before a step.
    """

    look: int = Field(10, ge=1)
    at_most: int = Field(100, ge=1)

    def unsupported(self, flow: GradientFlow) -> str | None:
        """Needs something that the encoder alone uses."""
        if not flow.system.groups:
            return "aggressive updates need latent variables"
        return None if flow.encoder_only() else "no weight is the encoder's alone, so there is nothing to update"

"""Aggressive training of the encoder, which otherwise lags behind the decoder."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import override

from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import InnerLoop


class Aggressive(InnerLoop):
    """Before each step, updates the encoder alone until it has caught up (He et al. 2019, Algorithm 1).

    The first update uses the batch of the step, the others random batches. They stop when the mean loss per token of
    the last ``look`` updates is not below that of the ``look`` updates before. The step itself then updates everything
    but the encoder. After the first epoch without a rise of the mutual information on validation texts, plain training
    goes on to the end of the stage.

    The encoder is every parameter that q(z | x) uses and neither p(x | z) nor p(z) does. If encoder and decoder share a
    stack, only the parameters between the stack and q(z | x) remain.

    Attributes:
        look: the loss is compared every so many updates.
        at_most: largest number of updates before a step.
    """

    look: int = Field(10, ge=1)
    at_most: int = Field(100, ge=1)

    @override
    def supports(self, flow: GradientFlow) -> str | None:
        if not flow.system.groups:
            return "aggressive updates need latent variables"
        return None if flow.encoder_only() else "the encoder alone uses no parameter, so there is nothing to update"

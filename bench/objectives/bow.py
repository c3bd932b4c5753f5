"""The bag-of-words loss: the latent variable alone must predict the words of a text, in any order."""

from __future__ import annotations

from typing import cast

from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from bench.batch import Batch
from bench.interface import LatentPath, System
from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import AuxiliaryLoss


class BagOfWords(AuxiliaryLoss):
    """The bag-of-words loss of the last latent group z_L (Zhao et al. 2017; weight and shared head as in DELLA's code).

    A learned linear map W takes z_L to the width of the decoder, and the decoder's output layer (the head) scores every
    token of the vocabulary. The loss is - sum_t log softmax(head(W z_L))[x_t] over the predicted tokens x_t, in nats.

    Attributes:
        weight: of the loss.
    """

    name = "bow"

    weight: float = Field(0.2, gt=0)

    @override
    def supports(self, flow: GradientFlow) -> str | None:
        if not flow.system.groups:
            return "a bag-of-words loss needs latent variables"
        return None if flow.system.output_layer is not None else "a bag-of-words loss needs an output layer to share"

    @override
    def network(self, system: System) -> nn.Module:
        return nn.Linear(system.groups[-1], _head(system).in_features)

    @override
    def terms(self, network: nn.Module, system: System, batch: Batch, path: LatentPath) -> Tensor:
        log_p = _head(system)(network(path.z[-1])).log_softmax(-1)
        text = batch.predicted // batch.inputs.shape[1]
        tokens = batch.targets.flatten()[batch.predicted]
        counts = log_p.new_zeros(len(batch), log_p.shape[-1])
        counts.index_put_((text, tokens), counts.new_ones(()), accumulate=True)
        return -(counts[:, None] * log_p).double().sum(-1)


def _head(system: System) -> nn.Linear:
    return cast(nn.Linear, system.output_layer)  # `supports` refuses a system without one

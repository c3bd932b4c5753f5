"""The bag-of-words loss: a latent variable alone has to tell which words a text holds."""

from __future__ import annotations

from typing import cast

from pydantic import Field
from torch import Tensor, nn

from bench.batch import Batch
from bench.interface import LatentPath, System
from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import AuxiliaryLoss


class BagOfWords(AuxiliaryLoss):
    """The bag-of-words loss of the last latent group (Zhao et al. 2017; as DELLA's code has it: 0.2, shared head).

    A linear map takes z_L to the width of the decoder, whose output layer scores every token of the vocabulary; the
    loss is - sum_t log softmax(head(W z_L + b))[x_t] over the predicted tokens. The map is trained with the system and
    left out of what is scored.
    """

    name = "bow"

    weight: float = Field(0.2, gt=0)

    def unsupported(self, flow: GradientFlow) -> str | None:
        """Needs a latent variable, and an output layer to share."""
        if not flow.system.groups:
            return "a bag-of-words loss needs latent variables"
        return None if flow.system.output_layer is not None else "a bag-of-words loss needs an output layer to share"

    def network(self, system: System) -> nn.Module:
        """Returns the map from z_L to the decoder's width."""
        return nn.Linear(system.groups[-1], _head(system).in_features)

    def terms(self, network: nn.Module, system: System, batch: Batch, path: LatentPath) -> Tensor:
        """Returns the negative log-likelihood of the texts as bags of tokens (B x n), in nats."""
        log_p = _head(system)(network(path.z[-1])).log_softmax(-1)
        text = batch.predicted // batch.inputs.shape[1]
        tokens = batch.targets.flatten()[batch.predicted]
        counts = log_p.new_zeros(len(batch), log_p.shape[-1])
        counts.index_put_((text, tokens), counts.new_ones(()), accumulate=True)
        return -(counts[:, None] * log_p).double().sum(-1)


def _head(system: System) -> nn.Linear:
    return cast(nn.Linear, system.output_layer)  # a system without any is not supported

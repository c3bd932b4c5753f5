"""Floors under the KL: up to a target a posterior may differ from its prior at no cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.errors import BenchError
from bench.interface import LatentPath
from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import KLThreshold, Part
from bench.objectives.reductions import SumGroups
from bench.objectives.schedules import Constant

NO_DIMENSIONS = "free bits per dimension need a posterior that gives the KL of every dimension (kl_dimensions)"


class FreeBits(KLThreshold):
    """A KL term is penalised only where it is above ``target`` nats, its free bits (Kingma et al. 2016).

    Both forms have the same gradients, none up to the target; the loss differs. Terms meet the target as they are,
    one by one for every sample of a text, and are averaged over samples afterwards (training draws one sample).

    Published settings: Optimus 0.5 (its ``dim_target_kl``); Li et al. 2019 ``8,divided=true`` (their fb = 2),
    ``8,text`` (fb = 1) and ``8,text,batch_mean=true`` (fb = 3); DELLA's released threshold t ``t,group,max``; Kingma
    et al. ``t,group,max,batch_mean=true``.

    Attributes:
        target: nats that are free in every unit.
        per: unit that has a target: every latent dimension, every group, or the whole text.
        form: ``mask`` counts a term up to the target as 0, as all released text VAEs do; ``max`` as the target, as
            their papers write.
        divided: ``target`` is that of a whole text, divided equally among its units.
        batch_mean: a unit's average over the batch is compared with the target, not every text's own.
    """

    target: float = Field(0.5, ge=0)
    per: Literal["dimension", "group", "text"] = "dimension"
    form: Literal["mask", "max"] = "mask"
    divided: bool = False
    batch_mean: bool = False

    def conflict(self, others: Sequence[Part]) -> str | None:
        """A floor under the whole KL needs the whole KL, and any floor a weight above 0."""
        for other in others:
            if self.per == "text" and other.kind == "reduction" and not isinstance(other, SumGroups):
                return "free bits per text are bits of the sum over groups, not of another reduction"
            if isinstance(other, Constant) and other.weight == 0:
                return "free bits do nothing where the KL has no weight"
        return None

    def unsupported(self, flow: GradientFlow) -> str | None:
        """Needs latent variables, and per dimension a posterior that tells its dimensions apart."""
        if not flow.system.groups:
            return "free bits need latent variables"
        return NO_DIMENSIONS if self.per == "dimension" and flow.path.kl_dimensions is None else None

    def __call__(self, path: LatentPath) -> Tensor:
        """Returns the penalised KL of each group (B x n x G), or of the whole text (B x n x 1), in nats."""
        units = UNITS[self.per](path)
        count = sum(terms.shape[-1] for terms in units) if self.divided else 1
        return torch.stack([self._floored(terms.double(), self.target / count).sum(-1) for terms in units], dim=-1)

    def _floored(self, terms: Tensor, target: float) -> Tensor:
        compared = terms.mean(dim=(0, 1), keepdim=True) if self.batch_mean else terms
        return terms.masked_fill(compared <= target, target if self.form == "max" else 0.0)


def _dimensions(path: LatentPath) -> Sequence[Tensor]:
    if path.kl_dimensions is None:
        raise BenchError(f"{NO_DIMENSIONS}.")
    return path.kl_dimensions


UNITS: Mapping[str, Callable[[LatentPath], Sequence[Tensor]]] = {
    "dimension": _dimensions,
    "group": lambda path: path.kl.split(1, dim=-1),
    "text": lambda path: [path.kl.sum(-1, keepdim=True)],
}
"""The terms of every unit (B x n x units), one tensor for each entry of the result."""

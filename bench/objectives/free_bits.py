"""Free bits: KL terms up to a target cost nothing, so a posterior may differ from its prior that much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from bench.errors import BenchError
from bench.interface import LatentPath
from bench.objectives.gradient_flow import GradientFlow
from bench.objectives.part import KLThreshold, Part
from bench.objectives.reductions import SumGroups
from bench.objectives.schedules import Constant

NO_DIMENSIONS = "free bits per dimension need a posterior that gives the KL of every dimension (kl_dimensions)"


class FreeBits(KLThreshold):
    """Penalises a KL term only where it is above ``target`` nats, its free bits (Kingma et al. 2016).

    Terms are compared with the target before any averaging, each sample of a text alone (training draws one sample).
    The two forms have the same gradients, 0 up to the target, and different losses.

    Published settings: Optimus 0.5 (its ``dim_target_kl``); Li et al. 2019 ``8,divided=true`` (their fb = 2),
    ``8,text`` (fb = 1) and ``8,text,batch_mean=true`` (fb = 3); DELLA's released threshold t ``t,group,max``; Kingma
    et al. ``t,group,max,batch_mean=true``.

    Attributes:
        target: free nats of every unit.
        per: the unit: every latent dimension, every group, or the whole text.
        form: a term up to the target counts as 0 (``mask``, the released code of text VAEs) or as the target (``max``,
            their papers).
        divided: ``target`` is that of the whole text, divided equally among its units.
        batch_mean: compare the mean of a unit over the batch with the target, not the unit of every text.
    """

    target: float = Field(0.5, ge=0)
    per: Literal["dimension", "group", "text"] = "dimension"
    form: Literal["mask", "max"] = "mask"
    divided: bool = False
    batch_mean: bool = False

    @override
    def conflict(self, others: Sequence[Part]) -> str | None:
        for other in others:
            if self.per == "text" and other.kind == "reduction" and not isinstance(other, SumGroups):
                return "free bits per text are bits of the sum over groups, not of another reduction"
            if isinstance(other, Constant) and other.weight == 0:
                return "free bits do nothing where the KL has no weight"
        return None

    @override
    def supports(self, flow: GradientFlow) -> str | None:
        if not flow.system.groups:
            return "free bits need latent variables"
        return NO_DIMENSIONS if self.per == "dimension" and flow.path.kl_dimensions is None else None

    @override
    def __call__(self, path: LatentPath) -> Tensor:
        units = KL_UNITS[self.per](path)
        count = sum(kl.shape[-1] for kl in units) if self.divided else 1
        return torch.stack([self._penalised(kl.double(), self.target / count).sum(-1) for kl in units], dim=-1)

    def _penalised(self, kl: Tensor, target: float) -> Tensor:
        compared = kl.mean(dim=(0, 1), keepdim=True) if self.batch_mean else kl
        return kl.masked_fill(compared <= target, target if self.form == "max" else 0.0)


def _dimensions(path: LatentPath) -> Sequence[Tensor]:
    if path.kl_dimensions is None:
        raise BenchError(f"{NO_DIMENSIONS}.")
    return path.kl_dimensions


KL_UNITS: Mapping[str, Callable[[LatentPath], Sequence[Tensor]]] = {
    "dimension": _dimensions,
    "group": lambda path: path.kl.split(1, dim=-1),
    "text": lambda path: [path.kl.sum(-1, keepdim=True)],
}
"""The KL of each unit (B x n x units), by the values of ``per``: a tensor for each group, one in all for ``text``."""

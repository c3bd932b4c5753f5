"""The loss that parts make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.objectives.part import Adaptation, AuxiliaryLoss, Clock, InnerLoop, KLThreshold, Part, Reduction, Schedule
from bench.objectives.reductions import SumGroups
from bench.objectives.schedules import Constant

if TYPE_CHECKING:
    from torch import Tensor

    from bench.interface import LatentPath


@dataclass(frozen=True)
class Objective:
    """A loss made of its parts."""

    schedule: Schedule = field(default_factory=Constant)
    threshold: KLThreshold | None = None
    reduction: Reduction = field(default_factory=SumGroups)
    inner_loop: InnerLoop | None = None
    auxiliary: tuple[AuxiliaryLoss, ...] = ()
    adaptations: tuple[Adaptation, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Objective:
        """Puts parts in the places of their kinds; a place without a part keeps its default."""
        auxiliary = tuple(part for part in parts if isinstance(part, AuxiliaryLoss))
        adaptations = tuple(part for part in parts if isinstance(part, Adaptation))
        single = {part.kind.replace(" ", "_"): part for part in parts if not part.several}
        return cls(**single, auxiliary=auxiliary, adaptations=adaptations)  # type: ignore[arg-type]  # each kind is a field of its type

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, defaults included."""
        single = (self.schedule, self.threshold, self.reduction, self.inner_loop)
        return *(part for part in single if part is not None), *self.auxiliary, *self.adaptations

    def loss(self, log_likelihood: Tensor, path: LatentPath, clock: Clock, auxiliary: Sequence[Tensor] = ()) -> Tensor:
        """Returns the loss of each text (B), in nats, averaged over its n samples.

        Args:
            log_likelihood: log p(x | z) (B x n).
            path: the samples with their KL terms.
            clock: where training stands.
            auxiliary: unweighted terms of the auxiliary losses, in their order (B x n each).
        """
        kl = path.kl.double() if self.threshold is None else self.threshold(path)
        loss = self.schedule.beta(clock) * self.reduction(kl) - log_likelihood
        for part, terms in zip(self.auxiliary, auxiliary, strict=True):
            loss = loss + part.weight * terms
        return loss.mean(-1)

"""The loss that parts make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.objectives.part import Clock, Floor, Part, Reduction, Schedule
from bench.objectives.reductions import SumGroups
from bench.objectives.schedules import Constant

if TYPE_CHECKING:
    from torch import Tensor

    from bench.interface import LatentPath


@dataclass(frozen=True)
class Objective:
    """A loss made of its parts."""

    schedule: Schedule = field(default_factory=Constant)
    floor: Floor | None = None
    reduction: Reduction = field(default_factory=SumGroups)

    @classmethod
    def of(cls, parts: Iterable[Part]) -> Objective:
        """Puts parts, one of a kind, in their places; the others keep their default."""
        return cls(**{part.kind: part for part in parts})  # type: ignore[arg-type]  # each kind is a field of its type

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, defaults included."""
        return tuple(part for part in (self.schedule, self.floor, self.reduction) if part is not None)

    def loss(self, log_likelihood: Tensor, path: LatentPath, clock: Clock) -> Tensor:
        """Returns the loss of each text (B), in nats, averaged over its n samples.

        Args:
            log_likelihood: log p(x | z) (B x n).
            path: the samples with their KL terms.
            clock: where training stands.
        """
        kl = path.kl.double() if self.floor is None else self.floor(path)
        return (self.schedule.beta(clock) * self.reduction(kl) - log_likelihood).mean(-1)

"""The loss of one stage of training, from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.objectives.part import (
    OBJECTIVES,
    Adaptation,
    AuxiliaryLoss,
    InnerLoop,
    KLThreshold,
    Part,
    Reduction,
    Schedule,
    StageStep,
)
from bench.objectives.reductions import SumGroups
from bench.objectives.schedules import Constant
from bench.reading import parse_as
from bench.specs import ObjectiveSpec, PartSpec

if TYPE_CHECKING:
    from torch import Tensor

    from bench.interface import LatentPath, System


DEFAULTS = ("constant", "sum-groups")
"""Names of the parts that a stage has unless it names another one of their kinds; ``Objective`` builds the same."""


@dataclass(frozen=True)
class Objective:
    """The parts of a loss, by their kinds; see ``bench.objectives`` for the formula."""

    schedule: Schedule = field(default_factory=Constant)
    threshold: KLThreshold | None = None
    reduction: Reduction = field(default_factory=SumGroups)
    inner_loop: InnerLoop | None = None
    auxiliary: tuple[AuxiliaryLoss, ...] = ()
    adaptations: tuple[Adaptation, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, defaults included."""
        single = (self.schedule, self.threshold, self.reduction, self.inner_loop)
        return *(part for part in single if part is not None), *self.auxiliary, *self.adaptations

    def loss(
        self, log_likelihood: Tensor, path: LatentPath, step: StageStep, auxiliary: Sequence[Tensor] = ()
    ) -> Tensor:
        """Returns the loss of each text (B), in nats, averaged over its n samples.

        Args:
            log_likelihood: log p(x | z) (B x n).
            path: the samples with their KL terms.
            step: the present optimizer step.
            auxiliary: unweighted terms of the auxiliary losses, in their order (B x n each).
        """
        kl = path.kl.double() if self.threshold is None else self.threshold(path)
        loss = self.schedule.beta(step) * self.reduction(kl) - log_likelihood
        for part, terms in zip(self.auxiliary, auxiliary, strict=True):
            loss = loss + part.weight * terms
        return loss.mean(-1)


def build_objective(specs: Sequence[PartSpec]) -> Objective:
    """Builds the objective of one stage; a kind without a part keeps its default.

    Raises:
        BenchError: a stored part or option is unknown.
    """
    parts = [parse_as(OBJECTIVES.get(spec.name), spec.options, f"objective {spec.name!r}") for spec in specs]
    single: dict[str, Any] = {part.kind.replace(" ", "_"): part for part in parts if part.one_per_stage}
    auxiliary = tuple(part for part in parts if isinstance(part, AuxiliaryLoss))
    adaptations = tuple(part for part in parts if isinstance(part, Adaptation))
    return Objective(**single, auxiliary=auxiliary, adaptations=adaptations)


def part_types(spec: ObjectiveSpec) -> dict[str, type[Part]]:
    """Returns the class of each part of all stages by its registered name, defaults included.

    Raises:
        BenchError: a stored part is unknown.
    """
    defaults = {name: OBJECTIVES.get(name) for name in DEFAULTS}
    types: dict[str, type[Part]] = {}
    for parts in (*(stage.parts for stage in spec.earlier), spec.parts):
        named = {part.name: OBJECTIVES.get(part.name) for part in parts}
        kinds = {part.kind for part in named.values()}
        types |= named | {name: part for name, part in defaults.items() if part.kind not in kinds}
    return types


def apply_adaptations(system: System, spec: ObjectiveSpec) -> None:
    """Changes a system that was just built as the objective that trains it asks."""
    for part in build_objective(spec.parts).adaptations:
        part.adapt(system)

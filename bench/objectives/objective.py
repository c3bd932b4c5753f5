"""An objective: its parts, by name, and the loss they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.objectives.part import Clock, Floor, Kind, Part, Reduction, Schedule
from bench.objectives.reductions import SumGroups
from bench.objectives.schedules import Constant
from bench.registry import Registry
from bench.spec import ObjectiveSpec, PartSpec, configure, parse_call, validated

if TYPE_CHECKING:
    from torch import Tensor

    from bench.interface import LatentPath
    from bench.objectives.probe import Probe


@dataclass(frozen=True)
class Objective:
    """A loss made of its parts."""

    schedule: Schedule = field(default_factory=Constant)
    floor: Floor | None = None
    reduction: Reduction = field(default_factory=SumGroups)

    def loss(self, log_likelihood: Tensor, path: LatentPath, clock: Clock) -> Tensor:
        """Returns the loss of each text (B), in nats, averaged over its n samples.

        Args:
            log_likelihood: log p(x | z) (B x n).
            path: the samples with their KL terms.
            clock: where training stands.
        """
        kl = path.kl.double() if self.floor is None else self.floor(path)
        return (self.schedule.beta(clock) * self.reduction(kl) - log_likelihood).mean(-1)

    def unsupported(self, probe: Probe) -> str | None:
        """Returns why the objective means nothing for a system, or None."""
        parts = (part for part in (self.schedule, self.floor, self.reduction) if part is not None)
        return next((reason for part in parts if (reason := part.unsupported(probe)) is not None), None)


OBJECTIVES: Registry[type[Part]] = Registry(
    "objective",
    {
        "constant": "bench.objectives.schedules:Constant",
        "linear": "bench.objectives.schedules:Linear",
        "cyclical": "bench.objectives.schedules:Cyclical",
        "two-epoch-cycle": "bench.objectives.schedules:TwoEpochCycle",
        "free-bits": "bench.objectives.floors:FreeBits",
        "sum-groups": "bench.objectives.reductions:SumGroups",
        "mean-groups": "bench.objectives.reductions:MeanGroups",
        "first-group": "bench.objectives.reductions:FirstGroup",
        "last-group": "bench.objectives.reductions:LastGroup",
    },
    "della_bench.objectives",
)


def resolve_objective(parts: Sequence[str]) -> ObjectiveSpec:
    """Reads parts such as ``cyclical:cycles=4`` into a spec with every default written out.

    Raises:
        BenchError: an unknown part or option, two parts of one kind, or parts that mean nothing together.
    """
    where = f"objective {'+'.join(parts)!r}"
    named: dict[Kind, str] = {}
    built: dict[str, Part] = {}
    for text in parts:
        name, arguments = parse_call(text)
        cls = OBJECTIVES.get(name)
        if cls.kind in named:
            raise BenchError(f"{where}: {named[cls.kind]!r} and {name!r} are both a {cls.kind}.")
        named[cls.kind] = name
        built[name] = configure(cls, text, arguments)
    for part in built.values():
        if (reason := part.conflict(tuple(built.values()))) is not None:
            raise BenchError(f"{where}: {reason}.")
    return ObjectiveSpec(
        parts=tuple(PartSpec(name=name, options=part.model_dump(mode="json")) for name, part in built.items())
    )


def build_objective(spec: ObjectiveSpec) -> Objective:
    """Builds the objective of a run."""
    parts = {
        (part := OBJECTIVES.get(one.name)).kind: validated(part, one.options, f"objective {one.name!r}")
        for one in spec.parts
    }
    return Objective(**parts)  # type: ignore[arg-type]  # each kind is a field of its type

"""What is optimised, apart from what is reported: KL-weight schedules and penalties, independent of any model.

An objective is written ``part+part``; each part is of a kind, and a kind that is not named keeps its default. The loss
of a text is -log p(x | z) + beta(t) * penalty(KL of the groups).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.errors import BenchError
from bench.registry import Registry
from bench.spec import ObjectiveSpec, PartSpec, Spec, configure, parse_call, validated

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["schedule", "penalty"]


@dataclass(frozen=True)
class Clock:
    """Where training stands.

    Attributes:
        step: optimizer steps taken before this one.
        steps_per_epoch: of this run.
        total_steps: of this run.
    """

    step: int
    steps_per_epoch: int
    total_steps: int


class Part(Spec):
    """A piece of an objective; its fields are its options."""

    kind: ClassVar[Kind]


class Schedule(Part):
    """The weight of the KL term over time."""

    kind = "schedule"

    @abstractmethod
    def beta(self, clock: Clock) -> float:
        """Returns the KL weight of the step that the clock shows."""


class Constant(Schedule):
    """The same weight throughout: 1 is the ELBO, less is a beta-VAE."""

    weight: float = Field(1.0, ge=0)

    def beta(self, clock: Clock) -> float:
        """Returns the weight."""
        return self.weight


class Linear(Schedule):
    """A ramp from ``start`` to 1 over the first ``epochs`` (Bowman et al. 2016; He et al. 2019 use 10 epochs from 0.1).

    Where a run is shorter, the ramp is cut to the fraction ``at_most`` of it, so that some of it trains the ELBO.
    """

    epochs: float = Field(10.0, gt=0)
    start: float = Field(0.1, ge=0, le=1)
    at_most: float = Field(0.5, gt=0, le=1)

    def beta(self, clock: Clock) -> float:
        """Returns the weight on the ramp, or 1 behind it."""
        length = min(self.epochs * clock.steps_per_epoch, self.at_most * clock.total_steps)
        return min(1.0, self.start + (1.0 - self.start) * clock.step / length)


class Cyclical(Schedule):
    """``cycles`` equal periods, in each a ramp from 0 to 1 over ``ratio`` of it, then 1 (Fu et al. 2019)."""

    cycles: int = Field(4, ge=1)
    ratio: float = Field(0.5, gt=0, le=1)

    def beta(self, clock: Clock) -> float:
        """Returns the weight at this place of the period."""
        # In whole numbers: a period that is not one would restart a step late by rounding.
        place = clock.step * self.cycles % clock.total_steps
        return min(1.0, place / (self.ratio * clock.total_steps))


class TwoEpochCycle(Schedule):
    """The DELLA paper's two-epoch cycle (appendix A.1).

    It holds ``floor`` for a half of the two epochs, ramps for a quarter and stays at 1 for a quarter. A run with an odd
    number of epochs ends in a half of ``floor``. The released code ramps by a constant increment per step, so that its
    first ramped step is already one increment above the floor.
    """

    floor: float = Field(1e-5, ge=0, le=1)

    def beta(self, clock: Clock) -> float:
        """Returns the weight at this place of the two epochs."""
        place = (clock.step / clock.steps_per_epoch) % 2.0
        ramp = min(1.0, max(0.0, (place - 1.0) / 0.5))
        return self.floor + (1.0 - self.floor) * ramp


class Penalty(Part):
    """How the KL terms of a text's latent groups enter the loss."""

    kind = "penalty"

    @abstractmethod
    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the penalty (B x n) for the KL of each group (B x n x G), in nats."""


class SumGroups(Penalty):
    """The KL of the joint posterior, a sum over groups (Eq. 6 of DELLA): with beta = 1 the loss is a bound."""

    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the sum over groups."""
        return kl.sum(-1)


class MeanGroups(Penalty):
    """The average over groups, as in the released DELLA code: a beta-VAE with beta divided by the number of groups."""

    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the mean over groups, 0 where there is none."""
        return kl.sum(-1) / max(1, kl.shape[-1])


class FirstGroup(Penalty):
    """The KL of the first group alone (`l = 1 KL` in Table 4 of DELLA): no bound, the others go unpaid."""

    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the first group's KL, 0 where there is none."""
        return kl[..., :1].sum(-1)


class LastGroup(Penalty):
    """The KL of the last group alone (`l = 12 KL` in Table 4 of DELLA): no bound, the others go unpaid."""

    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the last group's KL, 0 where there is none."""
        return kl[..., -1:].sum(-1)


@dataclass(frozen=True)
class Objective:
    """A loss made of its parts."""

    schedule: Schedule = field(default_factory=Constant)
    penalty: Penalty = field(default_factory=SumGroups)

    def loss(self, log_likelihood: Tensor, kl: Tensor, clock: Clock) -> Tensor:
        """Returns the loss of each text (B), in nats, averaged over its n samples.

        Args:
            log_likelihood: log p(x | z) (B x n).
            kl: KL of each group (B x n x G).
            clock: where training stands.
        """
        return (self.schedule.beta(clock) * self.penalty(kl) - log_likelihood).mean(-1)


OBJECTIVES: Registry[type[Part]] = Registry(
    "objective",
    {
        "constant": "bench.objectives:Constant",
        "linear": "bench.objectives:Linear",
        "cyclical": "bench.objectives:Cyclical",
        "two-epoch-cycle": "bench.objectives:TwoEpochCycle",
        "sum-groups": "bench.objectives:SumGroups",
        "mean-groups": "bench.objectives:MeanGroups",
        "first-group": "bench.objectives:FirstGroup",
        "last-group": "bench.objectives:LastGroup",
    },
    "della_bench.objectives",
)


def resolve_objective(parts: Sequence[str]) -> ObjectiveSpec:
    """Reads parts such as ``cyclical:cycles=4`` into a spec with every default written out.

    Raises:
        BenchError: an unknown part or option, or two parts of one kind.
    """
    seen: dict[Kind, str] = {}
    resolved = []
    for text in parts:
        name, arguments = parse_call(text)
        part = OBJECTIVES.get(name)
        if part.kind in seen:
            raise BenchError(f"objective {'+'.join(parts)!r}: {seen[part.kind]!r} and {name!r} are both a {part.kind}.")
        seen[part.kind] = name
        resolved.append(PartSpec(name=name, options=configure(part, text, arguments).model_dump(mode="json")))
    return ObjectiveSpec(parts=tuple(resolved))


def build_objective(spec: ObjectiveSpec) -> Objective:
    """Builds the objective of a run."""
    parts = {
        (part := OBJECTIVES.get(one.name)).kind: validated(part, one.options, f"objective {one.name!r}")
        for one in spec.parts
    }
    return Objective(**parts)  # type: ignore[arg-type]  # each kind is a field of its type

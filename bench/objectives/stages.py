"""From what a user names to the stages of a run, each an objective with its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from bench.errors import BenchError
from bench.labels import configure, parse_call
from bench.objectives.objective import Objective
from bench.objectives.part import Adaptation, Clock, Part, Recipe, Then
from bench.reading import parse_as
from bench.registry import Registry
from bench.specs import ObjectiveSpec, PartSpec, StageSpec

if TYPE_CHECKING:
    from bench.interface import System
    from bench.objectives.gradient_flow import GradientFlow

OBJECTIVES: Registry[type[Part]] = Registry(
    "objective",
    {
        "constant": "bench.objectives.schedules:Constant",
        "linear": "bench.objectives.schedules:Linear",
        "cyclical": "bench.objectives.schedules:Cyclical",
        "zero-linear": "bench.objectives.schedules:ZeroLinear",
        "two-epoch-cycle": "bench.objectives.schedules:TwoEpochCycle",
        "free-bits": "bench.objectives.free_bits:FreeBits",
        "sum-groups": "bench.objectives.reductions:SumGroups",
        "mean-groups": "bench.objectives.reductions:MeanGroups",
        "first-group": "bench.objectives.reductions:FirstGroup",
        "last-group": "bench.objectives.reductions:LastGroup",
        "bow": "bench.objectives.bow:BagOfWords",
        "batch-norm": "bench.objectives.batch_norm:BatchNorm",
        "aggressive": "bench.objectives.aggressive:Aggressive",
        "then": "bench.objectives.part:Then",
        "li-2019": "bench.objectives.recipes:Li2019",
        "optimus-2020": "bench.objectives.recipes:Optimus2020",
    },
    "della_bench.objectives",
)


@dataclass(frozen=True)
class Stage:
    """A stretch of training with an objective of its own.

    Attributes:
        objective: what is optimised.
        epochs: in which, counted from 0.
        reset: weights that go back to their values before training when the stage begins.
    """

    objective: Objective
    epochs: range
    reset: Literal["decoder"] | None = None

    def clock(self, step: int, steps_per_epoch: int) -> Clock:
        """Returns the stage's own time at an optimizer step of the run."""
        start, length = self.epochs.start * steps_per_epoch, len(self.epochs) * steps_per_epoch
        return Clock(step - start, steps_per_epoch, length)


def resolve_objective(parts: Sequence[str]) -> ObjectiveSpec:
    """Reads parts such as ``cyclical:cycles=4``, in the order of a label, into a spec with every default written out.

    What changes the system is written out in every stage, though it need be named in one alone.

    Raises:
        BenchError: an unknown part or option, a part given twice or two of one kind in a stage, a stage without parts,
            parts that mean nothing together or change the system in two ways, or stages that leave no epoch to the
            last one.
    """
    where = f"objective {'+'.join(parts)!r}"
    stages, ends = _divided(parts, where)
    for name, part in _adaptations(stages).items():
        for stage in stages:
            if stage.setdefault(name, part) != part:
                raise BenchError(f"{where}: {name!r} changes the system, so it is the same in all stages.")
    for stage in stages:
        for part in stage.values():
            if (reason := part.conflict(tuple(stage.values()))) is not None:
                raise BenchError(f"{where}: {reason}.")
    if (taken := sum(end.share for end in ends)) >= 1:
        raise BenchError(f"{where}: the stages before the last one take {taken:g} of the epochs, which leaves it none.")
    *earlier, last = (
        tuple(PartSpec(name=name, options=part.model_dump(mode="json")) for name, part in stage.items())
        for stage in stages
    )
    return ObjectiveSpec(
        earlier=tuple(
            StageSpec(parts=specs, share=end.share, reset=end.reset) for specs, end in zip(earlier, ends, strict=True)
        ),
        parts=last,
    )


def _divided(texts: Sequence[str], where: str) -> tuple[list[dict[str, Part]], list[Then]]:
    """Returns the parts of every stage by name, and what ends all stages but the last."""
    stages: list[dict[str, Part]] = [{}]
    ends: list[Then] = []
    for name, part in _configured(texts):
        if isinstance(part, Then):
            ends.append(part)
            stages.append({})
        elif name in stages[-1]:
            raise BenchError(f"{where}: {name!r} is given twice.")
        elif (other := _rival(stages[-1], part)) is not None:
            raise BenchError(f"{where}: {other!r} and {name!r} are both {_an(part.kind)}.")
        else:
            stages[-1][name] = part
    if ends and not all(stages):
        raise BenchError(f"{where}: a stage without parts; name some on either side of 'then', or constant.")
    return stages, ends


def _configured(texts: Sequence[str]) -> Iterator[tuple[str, Part]]:
    """Yields names and parts, every recipe as what it stands for."""
    for text in texts:
        name, arguments = parse_call(text)
        part = configure(OBJECTIVES.get(name), text, arguments)
        if isinstance(part, Recipe):
            yield from _configured(part.expand().split("+"))
        else:
            yield name, part


def _adaptations(stages: Sequence[dict[str, Part]]) -> dict[str, Part]:
    return {name: part for stage in stages for name, part in stage.items() if isinstance(part, Adaptation)}


def _an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _rival(stage: dict[str, Part], part: Part) -> str | None:
    """Returns the name of the part that has the place of ``part``, in kinds of which a stage has one."""
    return None if part.several else next((name for name, one in stage.items() if one.kind == part.kind), None)


def stage_epochs(spec: ObjectiveSpec, epochs: int) -> list[range]:
    """Returns the epochs of each stage: its share rounded to whole epochs, at least one.

    Raises:
        BenchError: fewer epochs than stages.
    """
    stages = len(spec.earlier) + 1
    if epochs < stages:
        raise BenchError(f"an objective of {stages} stages needs as many epochs; training.epochs is {epochs}.")
    bounds = [0]
    for number, taken in enumerate(accumulate(stage.share for stage in spec.earlier), start=1):
        bounds.append(min(max(round(taken * epochs), bounds[-1] + 1), epochs - (stages - number)))
    return [range(start, end) for start, end in zip(bounds, [*bounds[1:], epochs], strict=True)]


def build_stages(spec: ObjectiveSpec, epochs: int) -> tuple[Stage, ...]:
    """Builds the stages of a run of so many epochs.

    Raises:
        BenchError: fewer epochs than stages, or a stored part or option that is unknown.
    """
    parts = [*(stage.parts for stage in spec.earlier), spec.parts]
    resets = [None, *(stage.reset for stage in spec.earlier)]
    return tuple(
        Stage(build_objective(of_stage), place, reset)
        for of_stage, place, reset in zip(parts, stage_epochs(spec, epochs), resets, strict=True)
    )


def build_objective(parts: Sequence[PartSpec]) -> Objective:
    """Builds the objective of one stage.

    Raises:
        BenchError: a stored part or option that is unknown.
    """
    return Objective.of([parse_as(OBJECTIVES.get(one.name), one.options, f"objective {one.name!r}") for one in parts])


def adapt(system: System, spec: ObjectiveSpec) -> None:
    """Makes a system that was just built the one that a spec trains and scores."""
    for part in build_objective(spec.parts).adaptations:
        part.adapt(system)


def unsupported(stages: Sequence[Stage], flow: GradientFlow) -> str | None:
    """Returns why an objective means nothing for a system, or None; the reason becomes a footnote of its cells."""
    for stage in stages:
        for part in stage.objective.parts:
            if (reason := part.unsupported(flow)) is not None:
                return reason
        if stage.reset and not flow.decoder_only():
            return "no weight is the decoder's alone, so there is nothing to reset"
    return None

"""From an objective's label to its spec, and from the spec to the stages that train a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from bench.errors import BenchError
from bench.labels import configure, parse_call
from bench.objectives.objective import Objective, build_objective
from bench.objectives.part import OBJECTIVES, Adaptation, Part, Recipe, StageEnd, StageStep
from bench.specs import ObjectiveSpec, PartSpec, StageSpec

if TYPE_CHECKING:
    from bench.objectives.gradient_flow import GradientFlow


@dataclass(frozen=True)
class Stage:
    """Consecutive epochs of training with one objective.

    Attributes:
        objective: their objective.
        epochs: their numbers in the run, from 0.
        reset: parameters that get back their values before training when the stage begins.
    """

    objective: Objective
    epochs: range
    reset: Literal["decoder"] | None = None

    def step(self, number: int, steps_per_epoch: int) -> StageStep:
        """Returns optimizer step ``number`` of the run as a step of this stage."""
        start, total = self.epochs.start * steps_per_epoch, len(self.epochs) * steps_per_epoch
        return StageStep(number - start, steps_per_epoch, total)


def resolve_objective(parts: Sequence[str]) -> ObjectiveSpec:
    """Resolves the parts of a label, such as ``cyclical:cycles=4``, to a spec with every default written out.

    An adaptation that one stage names is written into every stage, since it changes the system.

    Raises:
        BenchError: a part or option is unknown; a stage has no part, one part twice or two of a kind that allows one;
            parts conflict; an adaptation differs between stages; or the last stage has no epochs left.
    """
    where = f"objective {'+'.join(parts)!r}"
    stages, ends = _split_stages(parts, where)
    adaptations = {name: part for stage in stages for name, part in stage.items() if isinstance(part, Adaptation)}
    for name, adaptation in adaptations.items():
        for stage in stages:
            if stage.setdefault(name, adaptation) != adaptation:
                raise BenchError(f"{where}: {name!r} changes the system, so it is the same in all stages.")
    for stage in stages:
        for part in stage.values():
            if (reason := part.conflict(tuple(stage.values()))) is not None:
                raise BenchError(f"{where}: {reason}.")
    if (taken := sum(end.share for end in ends)) >= 1:
        raise BenchError(f"{where}: the stages before the last one take {taken:g} of the epochs and leave it none.")
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


def _split_stages(texts: Sequence[str], where: str) -> tuple[list[dict[str, Part]], list[StageEnd]]:
    """Returns the parts of every stage by name, and the ends of all stages but the last."""
    stages: list[dict[str, Part]] = [{}]
    ends: list[StageEnd] = []
    for name, part in _configured(texts):
        stage = stages[-1]
        rivals = [other for other in stage if part.one_per_stage and stage[other].kind == part.kind]
        if isinstance(part, StageEnd):
            ends.append(part)
            stages.append({})
        elif name in stage:
            raise BenchError(f"{where}: {name!r} is given twice.")
        elif rivals:
            article = "an" if part.kind[0] in "aeiou" else "a"
            raise BenchError(f"{where}: {rivals[0]!r} and {name!r} are both {article} {part.kind}.")
        else:
            stage[name] = part
    if ends and not all(stages):
        raise BenchError(f"{where}: a stage without parts; name some on either side of 'then', or constant.")
    return stages, ends


def _configured(texts: Sequence[str]) -> Iterator[tuple[str, Part]]:
    """Yields names and parts; recipes are expanded."""
    for text in texts:
        name, arguments = parse_call(text)
        part = configure(OBJECTIVES.get(name), text, arguments)
        if isinstance(part, Recipe):
            yield from _configured(part.expand().split("+"))
        else:
            yield name, part


def stage_epochs(spec: ObjectiveSpec, epochs: int) -> list[range]:
    """Returns the epochs of each stage: its share rounded to whole epochs, at least one.

    Raises:
        BenchError: there are fewer epochs than stages.
    """
    stages = len(spec.earlier) + 1
    if epochs < stages:
        raise BenchError(f"an objective of {stages} stages needs as many epochs; training.epochs is {epochs}.")
    bounds = [0]
    for number, share in enumerate(accumulate(stage.share for stage in spec.earlier), start=1):
        bounds.append(min(max(round(share * epochs), bounds[-1] + 1), epochs - (stages - number)))
    return [range(start, end) for start, end in zip(bounds, [*bounds[1:], epochs], strict=True)]


def build_stages(spec: ObjectiveSpec, epochs: int) -> tuple[Stage, ...]:
    """Builds the stages of a run with ``epochs`` epochs.

    Raises:
        BenchError: there are fewer epochs than stages, or a stored part or option is unknown.
    """
    parts = [*(stage.parts for stage in spec.earlier), spec.parts]
    resets = [None, *(stage.reset for stage in spec.earlier)]
    return tuple(
        Stage(build_objective(specs), span, reset)
        for specs, span, reset in zip(parts, stage_epochs(spec, epochs), resets, strict=True)
    )


def unsupported_reason(stages: Sequence[Stage], flow: GradientFlow) -> str | None:
    """Returns why the stages cannot train a system, or None if they can; the reason becomes a footnote of its cells."""
    for stage in stages:
        for part in stage.objective.parts:
            if (reason := part.supports(flow)) is not None:
                return reason
        if stage.reset and not flow.decoder_only():
            return "the decoder alone uses no parameter, so there is nothing to reset"
    return None

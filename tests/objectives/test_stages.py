"""Stages: how a label divides a run, what a recipe stands for, and how both are stored."""

from __future__ import annotations

import re
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.identity import canonical_json
from bench.objectives import OBJECTIVES, Objective, build_stages, resolve_objective, stage_epochs
from bench.objectives.free_bits import FreeBits
from bench.objectives.part import Recipe
from bench.objectives.schedules import Constant, Linear
from bench.specs import ObjectiveSpec, PartSpec, StageSpec

TWO_STAGES = "constant:0+then:0.25,reset=decoder+linear+free-bits:8,text"


def resolved(label: str) -> ObjectiveSpec:
    return resolve_objective(label.split("+"))


def test_then_divides_a_label_into_stages() -> None:
    spec = resolved(TWO_STAGES)
    assert spec.earlier == (
        StageSpec(parts=(PartSpec(name="constant", options={"weight": 0.0}),), share=0.25, reset="decoder"),
    )
    assert [part.name for part in spec.parts] == ["linear", "free-bits"]
    first, last = build_stages(spec, epochs=8)
    assert first.objective == Objective(Constant(weight=0.0))
    assert last.objective == Objective(Linear(), FreeBits(target=8.0, per="text"))
    assert (first.epochs, last.epochs) == (range(2), range(2, 8))
    assert (first.reset, last.reset) == (None, "decoder")


def test_every_stage_counts_its_own_steps() -> None:
    first, last = build_stages(resolved(TWO_STAGES), epochs=8)
    first_step = last.step(number=20, steps_per_epoch=10)
    assert (first_step.number, first_step.per_epoch, first_step.total) == (0, 10, 60)
    assert last.objective.schedule.beta(first_step) == Linear().start
    assert last.objective.schedule.beta(last.step(number=79, steps_per_epoch=10)) == 1.0
    assert first.step(number=19, steps_per_epoch=10).number == 19


def test_a_stored_stage_without_parts_has_the_defaults() -> None:
    constant = PartSpec(name="constant", options={"weight": 0.0})
    first, last = build_stages(ObjectiveSpec(earlier=(StageSpec(parts=(constant,), share=0.5),)), epochs=2)
    assert first.objective == Objective(Constant(weight=0.0))
    assert last.objective == Objective()


@pytest.mark.parametrize(
    ("shares", "epochs", "expected"),
    [
        ([], 1, [1]),
        ([0.25], 4, [1, 3]),
        ([0.25], 2, [1, 1]),
        ([0.01], 100, [1, 99]),
        ([0.001], 10, [1, 9]),
        ([0.999], 10, [9, 1]),
        ([0.5, 0.25], 8, [4, 2, 2]),
        ([0.9, 0.05], 3, [1, 1, 1]),
        ([0.3, 0.3], 10, [3, 3, 4]),
    ],
)
def test_shares_are_whole_epochs(shares: list[float], epochs: int, expected: list[int]) -> None:
    spec = ObjectiveSpec(earlier=tuple(StageSpec(parts=(), share=share) for share in shares))
    assert list(map(len, stage_epochs(spec, epochs))) == expected


@given(st.lists(st.floats(0.001, 0.999), max_size=6), st.integers(0, 50))
def test_stages_have_all_epochs_between_them_and_each_has_one(shares: list[float], more: int) -> None:
    total = sum(shares)
    shares = [share / (total + 0.1) for share in shares]
    spec = ObjectiveSpec(earlier=tuple(StageSpec(parts=(), share=share) for share in shares))
    epochs = len(shares) + 1 + more
    stages = stage_epochs(spec, epochs)
    assert list(chain(*stages)) == list(range(epochs))
    assert all(stages)
    assert all(stage.stop == following.start for stage, following in pairwise(stages))


def test_objectives_of_one_stage_are_stored_as_they_were_before_there_were_stages() -> None:
    """The identity of a recorded run is a hash of this text."""
    spec = resolved("cyclical:ratio=0.25")
    stored = '{"parts":[{"name":"cyclical","options":{"cycles":4,"ratio":0.25}}]}'
    assert canonical_json(spec.model_dump(mode="json")) == stored
    assert ObjectiveSpec.model_validate_json(stored) == spec


def test_stages_are_stored_as_they_were_resolved() -> None:
    spec = resolved(TWO_STAGES)
    stored = ObjectiveSpec.model_validate_json(spec.model_dump_json())
    assert stored == spec
    assert build_stages(stored, 8) == build_stages(spec, 8)
    assert list(spec.model_dump()) == ["earlier", "parts"]


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        (
            "li-2019",
            "constant:0+then:0.25,reset=decoder+linear:epochs=10,start=0+free-bits:8,divided=true",
        ),
        ("optimus-2020", "constant:0+then:0.25+zero-linear:cycles=1,zero=0.5,increase=0.25+free-bits:0.5"),
        (
            "optimus-2020:target=0.1,share=0.5,beta=1e-5",
            "constant:1e-5+then:0.5+zero-linear+free-bits:0.1,per=dimension,form=mask",
        ),
        (
            "li-2019:4+mean-groups",
            "constant:0+then:0.25,reset=decoder+linear:10,0+free-bits:4,divided=true+mean-groups",
        ),
    ],
)
def test_a_recipe_is_the_stages_it_stands_for(recipe: str, label: str) -> None:
    assert resolved(recipe) == resolved(label)


def test_every_recipe_fits_two_epochs() -> None:
    recipes = [name for name in OBJECTIVES.names() if issubclass(OBJECTIVES.get(name), Recipe)]
    assert {"li-2019", "optimus-2020"} <= set(recipes)
    for name in recipes:
        assert len(build_stages(resolved(name), epochs=2)) == 2


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            "linear+then:0.6+constant+then:0.5+cyclical",
            "objective 'linear+then:0.6+constant+then:0.5+cyclical': the stages before the last one take 1.1 of the"
            " epochs and leave it none.",
        ),
        ("linear+then:1.5", "'then:1.5': share: Input should be less than 1 (got 1.5)."),
        ("linear+then:0.5,reset=encoder", "'then:0.5,reset=encoder': reset: Input should be 'decoder'"),
        ("linear+then+cyclical+constant", "'cyclical' and 'constant' are both a schedule."),
        ("linear+then+constant:0+free-bits", "free bits do nothing where the KL has no weight"),
        ("li-2019+cyclical", "objective 'li-2019+cyclical': 'linear' and 'cyclical' are both a schedule."),
        *(
            (label, f"objective {label!r}: a stage without parts; name some on either side of 'then', or constant.")
            for label in ("then:0.5", "linear+then", "then+linear", "linear+then:0.3+then:0.3+linear", "bow+then")
        ),
        ("linear+batch-norm+then", "a stage without parts"),
        ("linear+then+bow+bow", "objective 'linear+then+bow+bow': 'bow' is given twice."),
        ("li-2019:epochs=3", "'li-2019:epochs=3': unknown key 'epochs'."),
    ],
)
def test_stages_that_mean_nothing_are_refused(label: str, message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        resolved(label)


def test_more_stages_than_epochs_are_refused() -> None:
    with pytest.raises(BenchError, match=r"an objective of 2 stages needs as many epochs; training.epochs is 1\."):
        build_stages(resolved("linear+then+constant"), epochs=1)

"""From names to specs: what a user types is resolved to the last default, or refused in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bench import resources
from bench.errors import BenchError
from bench.harness.plan import plan, resolve_changes
from bench.labels import parse_call, parse_label
from bench.objectives import OBJECTIVES, build_objective, resolve_objective
from bench.specs import BackboneSpec, TrainingSpec
from bench.suites import Suite, load_suite
from bench.systems import SYSTEMS

SUITE = Suite(name="s", systems=("lm", "embed"), tasks=("ptb", "snli"), seeds=(0, 1))


def test_the_grid_goes_task_by_task_system_by_system_seed_by_seed() -> None:
    specs = plan(SUITE, "smoke")
    assert [spec.title for spec in specs] == [
        f"{task} {label} seed {seed}" for task in ("ptb", "snli") for label in ("lm", "embed") for seed in (0, 1)
    ]


def test_what_is_named_replaces_what_the_suite_says_and_nothing_runs_twice() -> None:
    specs = plan(SUITE, "smoke", systems=["della", "della"], tasks=["yelp"], seeds=[3, 3, 2])
    assert [spec.title for spec in specs] == ["yelp della seed 3", "yelp della seed 2"]


def test_a_spec_is_resolved_to_the_last_default() -> None:
    (spec,) = plan(SUITE, "smoke", systems=["embed:latent_size=8+cyclical:2"], tasks=["snli"], seeds=[0])
    assert spec.system.options == {"latent_size": 8, "representation": "first_token"}
    assert spec.system.label == "embed:latent_size=8+cyclical:2"
    (part,) = spec.objective.parts
    assert (part.name, part.options) == ("cyclical", {"cycles": 2, "ratio": 0.5})
    assert spec.scale == "smoke"


def test_the_backbone_of_a_row_differs_from_the_scales_in_what_is_named() -> None:
    scaled, named, plain = (
        plan(SUITE, "smoke", systems=[f"lm{changes}"], tasks=["snli"], seeds=[0])[0]
        for changes in ("@layers=2x,width=0.5x,dropout=0.1", "@layers=3", "")
    )
    expected = {"layers": 2 * plain.backbone.layers, "width": plain.backbone.width // 2, "dropout": 0.1}
    assert scaled.backbone == plain.backbone.model_copy(update=expected)
    assert named.backbone == plain.backbone.model_copy(update={"layers": 3})
    assert (scaled.system.options, scaled.objective, scaled.training) == (
        plain.system.options,
        plain.objective,
        plain.training,
    )


@pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
        ("layer=2", "scratch", "unknown key in '@layer=2' 'layer'. Did you mean 'layers'?"),
        ("24", "scratch", "'@24': write key=value, for example layers=24."),
        ("kind=encoder-decoder", "scratch", "unknown key in '@kind=encoder-decoder' 'kind'."),
        ("layers=0x", "scratch", "'@layers=0x': layers: Input should be greater than or equal to 1 (got 0.0)."),
        ("name=2x", "scratch", "'@name=2x': name is not a number."),
        ("layers=2x", "hub", "'@layers=2x': the layers of a pretrained backbone cannot be changed."),
    ],
)
def test_mistakes_in_a_rows_backbone_are_named_in_one_line(changes: str, source: Any, message: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}"):
        resolve_changes(changes, BackboneSpec(source=source), TrainingSpec())


def test_a_pretrained_backbone_may_be_another() -> None:
    medium, _ = resolve_changes("name=gpt2-medium", BackboneSpec(source="hub", name="gpt2"), TrainingSpec())
    assert medium == BackboneSpec(source="hub", name="gpt2-medium")


def test_a_row_may_be_trained_otherwise() -> None:
    (spec,) = plan(SUITE, "smoke", systems=["della@learning_rate=1e-4,epochs=2x,layers=3"], tasks=["snli"], seeds=[0])
    (plain,) = plan(SUITE, "smoke", systems=["della@layers=3"], tasks=["snli"], seeds=[0])
    changes = {"learning_rate": 1e-4, "epochs": 2 * plain.training.epochs}
    assert spec.training == plain.training.model_copy(update=changes)
    assert spec.backbone == plain.backbone


def test_a_system_brings_its_objective() -> None:
    for label in SYSTEMS.names():
        (spec,) = plan(SUITE, "smoke", systems=[label], tasks=["snli"], seeds=[0])
        assert spec.objective == resolve_objective(SYSTEMS.get(label).default_objective.split("+"))
        build_objective(spec.objective.parts)


@pytest.mark.parametrize("name", resources.names("suites"))
@pytest.mark.parametrize("scale", ["smoke", "base"])
def test_every_row_of_every_suite_is_a_run(name: str, scale: str) -> None:
    suite = load_suite(name)
    specs = plan(suite, scale)
    labels = dict.fromkeys(spec.system.label for spec in specs if spec.task.name == suite.tasks[0])
    assert list(labels) == list(suite.systems)


def test_every_objective_is_in_the_suite_of_tricks() -> None:
    """Except the ends of stages, reductions (its system has one group) and the released forms of two schedules."""
    default = tuple(SYSTEMS.get("embed").default_objective.split("+"))
    parts = (part for label in load_suite("tricks").systems for part in parse_label(label)[1] or default)
    wanted = {name for name in OBJECTIVES.names() if OBJECTIVES.get(name).kind not in ("reduction", "stage")}
    assert {parse_call(part)[0] for part in parts} == wanted - {"cyclical-2019", "zero-linear-2020"}

"""From names to specs: what a user types is resolved to the last default, or refused in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bench import resources
from bench.errors import BenchError
from bench.harness.plan import plan, resolve_changes
from bench.labels import parse_call, parse_label
from bench.objectives import OBJECTIVES, build_objective, resolve_objective
from bench.specs import BackboneSpec, DecodingSpec, TrainingSpec
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
        (
            "layers=2x",
            "hub",
            "'@layers=2x': the layers of a pretrained backbone cannot be changed; name another one, as",
        ),
    ],
)
def test_mistakes_in_a_rows_backbone_are_named_in_one_line(changes: str, source: Any, message: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}"):
        resolve_changes(changes, BackboneSpec(source=source), TrainingSpec())


def test_a_pretrained_backbone_may_be_another() -> None:
    small = BackboneSpec(source="hub", name="gpt2", revision="s")
    medium, _ = resolve_changes("name=gpt2-medium", small, TrainingSpec())
    assert medium == small.model_copy(update={"name": "gpt2-medium"})
    folder, _ = resolve_changes("path=medium", small, TrainingSpec())
    assert folder == small.model_copy(update={"source": "folder", "path": Path("medium")})


def test_a_scale_says_what_a_label_means_in_it() -> None:
    small = BackboneSpec(source="hub", name="gpt2", revision="s")
    entries = {"name": "gpt2-medium", "revision": "m"}
    medium = small.model_copy(update=entries)
    for text in ("layers=2x", "medium"):
        assert resolve_changes(text, small, TrainingSpec(), {text: entries}) == (medium, TrainingSpec())
    faster = TrainingSpec(learning_rate=0.5)
    assert resolve_changes("learning_rate=0.5,medium", small, TrainingSpec(), {"medium": entries}) == (medium, faster)


def test_a_scale_may_decode_as_the_paper() -> None:
    """Each system in its way; what the command names replaces it."""
    by_label = {spec.system.label: spec for spec in plan(load_suite("table8"), "paper", tasks=["snli"])}
    assert by_label["della"].decoding == DecodingSpec(strategy="beam", beams=10, max_tokens=200)
    assert by_label["embed"].decoding == DecodingSpec(strategy="sample", top_k=50, max_tokens=200)
    (greedy,) = plan(SUITE, "paper", systems=["della"], tasks=["snli"], seeds=[0], decoding="greedy")
    assert greedy.decoding == DecodingSpec(strategy="greedy", max_tokens=200)


def test_all_of_the_hub_at_the_scale_of_the_paper_is_pinned() -> None:
    """The deeper rows have GPT-2 medium, summaries and paraphrases BART, Optimus BERT; no label changes."""
    suites = [load_suite(name) for name in ("table1", "table2", "table5", "table9")]
    specs = [spec for suite in suites for spec in plan(suite, "paper")]
    parts = [part for spec in specs for part in (spec.backbone, spec.tokenizer, spec.encoder) if part is not None]
    assert {part.name for part in parts} == {
        *("openai-community/gpt2", "openai-community/gpt2-medium", "facebook/bart-base", "google-bert/bert-base-cased")
    }
    assert all(re.fullmatch("[0-9a-f]{40}", part.revision or "") for part in parts)
    assert len({(part.name, part.revision) for part in parts}) == 4
    deeper = {spec.system.label for spec in specs if str(spec.backbone.name).endswith("medium")}
    assert deeper == {f"{name}@layers=2x" for name in ("embed", "memory", "softmax", "della")}


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
@pytest.mark.parametrize("scale", ["smoke", "base", "paper"])
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

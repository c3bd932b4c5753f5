"""From names to specs: what a user types is resolved to the last default, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import resources
from bench.errors import BenchError
from bench.harness.plan import plan, resolve_backbone
from bench.labels import parse_call, parse_label
from bench.objectives import OBJECTIVES, build_objective, resolve_objective
from bench.scales import Scale, load_scale
from bench.specs import BackboneSpec, EncoderSpec
from bench.suites import Suite, load_suite
from bench.systems import SYSTEMS

Write = Callable[[str, Any], str]
SUITE = Suite(name="s", systems=("lm", "embed"), tasks=("ptb", "snli"), seeds=(0, 1))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a YAML file and returns its path as a user would type it."""

    def write(name: str, content: Any) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


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
        ("name=2x", "scratch", "'@name=2x': name is no number."),
        ("layers=2x", "hub", "'@layers=2x': a pretrained backbone has the layers it has."),
    ],
)
def test_mistakes_in_a_rows_backbone_are_named_in_one_line(changes: str, source: Any, message: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}"):
        resolve_backbone(changes, BackboneSpec(source=source))


def test_a_pretrained_backbone_may_be_another() -> None:
    medium = resolve_backbone("name=gpt2-medium", BackboneSpec(source="hub", name="gpt2"))
    assert medium == BackboneSpec(source="hub", name="gpt2-medium")


def test_an_encoder_is_as_the_backbone_where_the_scale_says_nothing_else() -> None:
    scale = Scale.model_validate(
        {
            "tokenizer": {"vocabulary_size": 900},
            "backbone": {"layers": 3, "width": 48, "heads": 4, "positions": 99, "dropout": 0.2},
            "encoder": {"layers": 5},
            "tasks": {"ptb": {"encoder": {"source": "folder", "path": "bert"}, "backbone": {"width": 96}}},
        }
    )
    assert scale.encoder_for(None) is None
    mirrored = {"kind": "bert", "vocabulary_size": 900, "layers": 5, "heads": 4, "positions": 99, "dropout": 0.2}
    assert scale.encoder_for("bert") == EncoderSpec(**mirrored, width=48)
    ptb = scale.for_task("ptb").encoder_for("bert")
    assert ptb == EncoderSpec(**mirrored, width=96, source="folder", path=Path("bert"))


def test_a_system_brings_its_objective() -> None:
    for label in SYSTEMS.names():
        (spec,) = plan(SUITE, "smoke", systems=[label], tasks=["snli"], seeds=[0])
        assert spec.objective == resolve_objective(SYSTEMS.get(label).default_objective.split("+"))
        build_objective(spec.objective.parts)


def test_entries_of_a_task_replace_those_of_its_scale_key_by_key(write: Write) -> None:
    scale = load_scale(
        write(
            "mine.yaml",
            {
                "limits": {"train": 10, "test": 5},
                "training": {"epochs": 3, "learning_rate": 0.5},
                "tasks": {"snli": {"limits": {"train": 20}, "training": {"epochs": 1}}},
            },
        )
    )
    snli, ptb = scale.for_task("snli"), scale.for_task("ptb")
    assert snli.limits == {"train": 20, "test": 5}
    assert (snli.training.epochs, snli.training.learning_rate) == (1, 0.5)
    assert ptb.limits == {"train": 10, "test": 5}
    assert ptb.training.epochs == 3
    assert snli.training.batch_tokens == Scale().training.batch_tokens


@pytest.mark.parametrize("name", resources.names("scales"))
def test_every_packaged_scale_is_one(name: str) -> None:
    scale = load_scale(name)
    assert scale.description
    assert scale.backbone.width % scale.backbone.heads == 0
    for task in scale.tasks:
        assert scale.for_task(task).tasks == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trainig": {}}, "unknown key 'trainig'. Did you mean 'training'?"),
        ({"training": {"epoch": 1}}, "unknown key 'training.epoch'. Did you mean 'epochs'?"),
        ({"training": {"epochs": 0}}, "training.epochs: Input should be greater than or equal to 1 (got 0)."),
        ({"limits": {"dev": 3}}, "limits.dev"),
        ({"tasks": {"snli": {"trainig": {}}}}, "scale entries of task 'snli': unknown key 'trainig'. Did you mean"),
        ({"tasks": {"snil": {}}}, "'snil'. Did you mean 'snli'?"),
        ([1], "expected keys and values, got list."),
        ("a: [", "not YAML: "),
    ],
)
def test_mistakes_in_a_scale_are_named_in_one_line(write: Write, content: Any, message: str) -> None:
    with pytest.raises(BenchError) as error:
        load_scale(write("mine.yaml", content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"systems": ["lm"]}, "tasks: Field required"),
        ({"systems": [], "tasks": ["snli"]}, "systems: Tuple should have at least 1 item"),
        ({"systems": ["lm"], "tasks": ["snli"], "seed": [1]}, "unknown key 'seed'. Did you mean 'seeds'?"),
        ({"systems": "lm", "tasks": ["snli"]}, "systems: Input should be a valid tuple"),
        ({"systems": ["lm"], "tasks": ["snli"], "seeds": ["x"]}, "seeds.0: Input should be a valid integer"),
    ],
)
def test_mistakes_in_a_suite_are_named_in_one_line(write: Write, content: Any, message: str) -> None:
    with pytest.raises(BenchError) as error:
        load_suite(write("mine.yaml", content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_suite_of_ones_own_is_called_like_its_file(write: Write) -> None:
    suite = load_suite(write("mine.yaml", {"systems": ["lm"], "tasks": ["snli"]}))
    assert (suite.name, suite.seeds) == ("mine", (0,))


def test_a_suite_runs_what_its_layout_shows_unless_it_says_otherwise(write: Write) -> None:
    layout = {"rows": ["lm", {"label": "della:independent", "title": "Separate"}], "tasks": [{"name": "snli"}]}
    shown = load_suite(write("mine.yaml", {"layout": {**layout, "metrics": ["PPL"]}}))
    assert (shown.systems, shown.tasks) == (("lm", "della:independent"), ("snli",))
    fewer = load_suite(write("mine.yaml", {"systems": ["lm"], "layout": layout}))
    assert (fewer.systems, fewer.tasks) == (("lm",), ("snli",))


@pytest.mark.parametrize("name", resources.names("suites"))
@pytest.mark.parametrize("scale", ["smoke", "base"])
def test_every_row_of_every_suite_is_a_run(name: str, scale: str) -> None:
    suite = load_suite(name)
    specs = plan(suite, scale)
    labels = dict.fromkeys(spec.system.label for spec in specs if spec.task.name == suite.tasks[0])
    assert list(labels) == list(suite.systems)


def test_every_objective_is_in_the_suite_of_tricks() -> None:
    """But for what begins a stage, and what to make of several groups, of which its system has one."""
    default = tuple(SYSTEMS.get("embed").default_objective.split("+"))
    parts = (part for label in load_suite("tricks").systems for part in parse_label(label)[1] or default)
    wanted = {name for name in OBJECTIVES.names() if OBJECTIVES.get(name).kind not in ("reduction", "stage")}
    assert {parse_call(part)[0] for part in parts} == wanted

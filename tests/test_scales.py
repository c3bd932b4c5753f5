"""Scales: entries of a task replace those of its scale, and mistakes are named in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import resources
from bench.errors import BenchError
from bench.scales import Scale, fields_page, load_scale
from bench.specs import EncoderSpec

Write = Callable[[str, Any], str]


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


def test_entries_of_a_task_replace_those_of_its_scale_key_by_key(write_yaml: Write) -> None:
    scale = load_scale(
        write_yaml(
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


def test_a_setting_is_as_an_entry_of_the_file(write_yaml: Write) -> None:
    content = {"training": {"epochs": 3}, "tasks": {"snli": {"training": {"epochs": 1}}, "ptb": {"max_tokens": 9}}}
    path = write_yaml("mine.yaml", content)
    for_all = load_scale(path, {"training.epochs": 7, "training.learning_rate": 0.25, "limits.train": 5})
    assert [for_all.for_task(task).training.epochs for task in ("snli", "ptb", "yelp")] == [7, 7, 7]
    assert for_all.for_task("snli").training.learning_rate == 0.25
    assert for_all.limits == {"train": 5}
    for_one = load_scale(path, {"tasks.snli.training.epochs": 7, "max_tokens": 5})
    assert [for_one.for_task(task).training.epochs for task in ("snli", "ptb")] == [7, 3]
    assert [for_one.for_task(task).max_tokens for task in ("snli", "ptb")] == [5, 5]
    assert load_scale(path).for_task("snli").training.epochs == 1


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("training.epoch", 2, "with training.epoch=2: unknown key 'training.epoch'. Did you mean 'epochs'? Allowed: a"),
        ("trainig.epochs", 2, "unknown key 'trainig'. Did you mean 'training'? Allowed: backbone, "),
        ("training.epochs.x", 2, "training.epochs: Input should be a valid integer"),
        ("training.epochs", 0, "training.epochs: Input should be greater than or equal to 1 (got 0)."),
        ("training", 2, "training: "),
        ("training..epochs", 2, "unknown key 'training.'. Allowed: "),
        ("tasks.snil.max_tokens", 9, "'snil'. Did you mean 'snli'?"),
        ("tasks.snli.max_token", 9, "unknown key 'max_token'. Did you mean 'max_tokens'?"),
        ("limits.dev", 9, "limits.dev"),
    ],
)
def test_mistakes_in_a_setting_are_named_in_one_line(setting: str, value: Any, message: str) -> None:
    with pytest.raises(BenchError) as error:
        load_scale("smoke", {setting: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


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
def test_mistakes_in_a_scale_are_named_in_one_line(write_yaml: Write, content: Any, message: str) -> None:
    with pytest.raises(BenchError) as error:
        load_scale(write_yaml("mine.yaml", content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_page_documents_every_field() -> None:
    """Regenerate with: python -m bench.scales > docs/scales.md."""
    page = (Path(__file__).parents[1] / "docs" / "scales.md").read_text(encoding="utf-8")
    assert page == fields_page()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert not [row for row in rows if not row[3].strip(" |")]

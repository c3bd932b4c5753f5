"""Specs: one canonical text, one identity, and errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from bench.reading import parse_as
from bench.specs import (
    EncoderSpec,
    ObjectiveSpec,
    PartSpec,
    RunSpec,
    SystemSpec,
    TaskSpec,
)

RUN = RunSpec(
    system=SystemSpec(name="embed", options={"latent_size": 32, "representation": "first_token"}, label="embed"),
    objective=ObjectiveSpec(parts=(PartSpec(name="cyclical", options={"cycles": 4, "ratio": 0.5}),)),
    task=TaskSpec(name="snli", limits={"train": 2000, "valid": 100, "test": 100}),
    scale="smoke",
)
COMPONENTS: dict[str, int | str] = {
    "system embed": 1,
    "train": 1,
    "tokenizer": "5eb63bbb",
    "evaluate": 1,
    "metric PPL": 1,
}
DATA = {"train": "ab" * 32, "valid": "cd" * 32, "test": "ef" * 32}
SAME = RUN.identify(COMPONENTS, DATA)

# Every field of a run with another value than RUN's. A field that is missing here fails the test below it.
OTHERS: dict[str, Any] = {
    "system.name": "memory",
    "system.options.latent_size": 64,
    "system.options.representation": "attention_pool",
    "system.label": "embed:latent_size=32",
    "objective.parts": [],
    "task.name": "ptb",
    "task.source": "files",
    "task.limits.train": 2001,
    "task.limits.valid": 101,
    "task.limits.test": 101,
    "task.max_tokens": 128,
    "task.max_source_tokens": 128,
    "task.conditional": True,
    "scale": "small",
    "tokenizer.kind": "folder",
    "tokenizer.vocabulary_size": 4096,
    "tokenizer.path": "/elsewhere/tokenizer",
    "backbone.kind": "encoder-decoder",
    "backbone.source": "folder",
    "backbone.layers": 3,
    "backbone.width": 32,
    "backbone.heads": 4,
    "backbone.positions": 512,
    "backbone.dropout": 0.0,
    "backbone.path": "/elsewhere/model",
    "backbone.name": "gpt2",
    "backbone.revision": "607a30d",
    "training.epochs": 5,
    "training.batch_tokens": 2048,
    "training.learning_rate": 2e-3,
    "training.weight_decay": 0.0,
    "training.warmup": 0.0,
    "training.clip_norm": 0.5,
    "training.precision": "fp32",
    "training.activation_checkpointing": True,
    "training.checkpoint_seconds": 1.0,
    "scoring.n_importance_samples": 31,
    "scoring.batch_tokens": 4096,
    "scoring.bootstrap_samples": 0,
    "scoring.n_generations": 0,
    "decoding.strategy": "greedy",
    "decoding.temperature": 0.9,
    "decoding.top_k": 50,
    "decoding.top_p": 0.9,
    "decoding.beams": 5,
    "decoding.samples_per_source": 2,
    "decoding.max_tokens": 64,
    "decoding.min_tokens": 1,
    "decoding.repetition_penalty": 1.2,
    "seed": 1,
}
NO_IDENTITY = {
    "tokenizer.path",
    "backbone.path",
    "training.activation_checkpointing",
    "training.checkpoint_seconds",
    "scoring.batch_tokens",
}
NAMES = {"system.label", "scale"}
"""Name a run and decide no number."""

# A run of a system with an encoder of its own.
ENCODING = RUN.model_copy(update={"encoder": EncoderSpec()})
OTHER_ENCODERS: dict[str, Any] = {
    "encoder.source": "folder",
    "encoder.layers": 3,
    "encoder.width": 32,
    "encoder.heads": 4,
    "encoder.positions": 512,
    "encoder.dropout": 0.0,
    "encoder.path": "/elsewhere/encoder",
    "encoder.name": "bert-base-cased",
    "encoder.revision": "cd5ef92",
    "encoder.vocabulary_size": 4096,
}


def leaves(value: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Dotted paths of everything in a dumped spec that is not itself a mapping."""
    return {
        path
        for key, inner in value.items()
        for path in (leaves(inner, f"{prefix}{key}.") if isinstance(inner, dict) and inner else [f"{prefix}{key}"])
    }


def changed(path: str, value: Any, run: RunSpec = RUN) -> RunSpec:
    data = run.model_dump(mode="json")
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    assert place.get(last) != value
    place[last] = value
    return parse_as(RunSpec, data, "test")


def test_identities_hold_on_every_machine() -> None:
    """They move only when the spec gains or loses a field; then no record that exists is found again."""
    assert SAME == ("35c31c9827df", "87edef095a0b", "35c31cb65955")


def test_identities_forget_the_order_of_keys() -> None:
    again = parse_as(RunSpec, dict(reversed(RUN.model_dump(mode="json").items())), "test")
    assert again.identify(dict(reversed(COMPONENTS.items())), dict(reversed(DATA.items()))) == SAME


def test_identities_of_a_stored_spec_are_those_of_the_spec() -> None:
    assert RunSpec.model_validate_json(RUN.model_dump_json()).identify(COMPONENTS, DATA) == SAME


def test_every_field_of_a_run_is_tried() -> None:
    assert leaves(RUN.model_dump(mode="json")) == set(OTHERS)


def is_scoring(path: str) -> bool:
    return path.startswith(("scoring.", "decoding.")) or path == "task.limits.test"


@pytest.mark.parametrize("path", sorted(OTHERS.keys() - NO_IDENTITY - NAMES))
def test_every_other_value_is_another_run(path: str) -> None:
    """It is another training, or the same one scored in another way, which the name of the run shows."""
    other = changed(path, OTHERS[path]).identify(COMPONENTS, DATA)
    assert other.run != SAME.run
    assert (other.training == SAME.training) == is_scoring(path)
    assert (other.scoring == SAME.scoring) != is_scoring(path)
    assert (other.run[:6] == SAME.run[:6]) == is_scoring(path)


@pytest.mark.parametrize("path", sorted(NAMES))
def test_names_are_part_of_the_run_alone(path: str) -> None:
    other = changed(path, OTHERS[path]).identify(COMPONENTS, DATA)
    assert (other.training, other.scoring) == (SAME.training, SAME.scoring)
    assert other.run != SAME.run


@pytest.mark.parametrize("path", sorted(NO_IDENTITY))
def test_places_pauses_and_portions_are_no_part_of_a_run(path: str) -> None:
    assert changed(path, OTHERS[path]).identify(COMPONENTS, DATA) == SAME


@pytest.mark.parametrize(("path", "value"), [("training.micro_batch_tokens", 512), ("training.compile", True)])
def test_what_training_is_rarely_told_is_part_of_a_run_that_is_told(path: str, value: Any) -> None:
    """Others say nothing of it: their specs and identities are what they were before."""
    assert path not in leaves(RUN.model_dump(mode="json"))
    told = changed(path, value)
    assert path in leaves(told.model_dump(mode="json"))
    assert told.identify(COMPONENTS, DATA).training != SAME.training
    assert RunSpec.model_validate_json(told.model_dump_json()) == told


def test_an_encoder_is_part_of_a_run_that_has_one() -> None:
    """Others say nothing of it: their specs and identities are what they were before there were encoders."""
    assert "encoder" not in RUN.model_dump(mode="json")
    assert RunSpec.model_validate_json(ENCODING.model_dump_json()) == ENCODING
    every = leaves(ENCODING.model_dump(mode="json")) - leaves(RUN.model_dump(mode="json"))
    assert every == {*OTHER_ENCODERS, "encoder.kind"}  # there is one kind
    same = ENCODING.identify(COMPONENTS, DATA)
    assert same.training != SAME.training
    for path, value in OTHER_ENCODERS.items():
        other = changed(path, value, ENCODING).identify(COMPONENTS, DATA)
        assert (other.training == same.training) == (path == "encoder.path"), path


@pytest.mark.parametrize(
    "components",
    [{**COMPONENTS, "train": 2}, {**COMPONENTS, "tokenizer": "5eb63bbc"}, {**COMPONENTS, "new": 1}, {}],
)
def test_other_components_are_another_training(components: dict[str, int | str]) -> None:
    other = RUN.identify(components, DATA)
    assert other.training != SAME.training
    assert other.run != SAME.run


def test_a_step_of_scoring_is_part_of_the_run_and_a_metric_of_its_scores() -> None:
    """A record keeps its place when it gains a metric."""
    changes: list[dict[str, int | str]] = [{"evaluate": 2}, {"metric PPL": 2}, {"metric KL": 1}]
    step, metric, more = (RUN.identify({**COMPONENTS, **change}, DATA) for change in changes)
    assert step.training == metric.training == more.training == SAME.training
    assert len({SAME.scoring, step.scoring, metric.scoring, more.scoring}) == 4
    assert step.run != SAME.run
    assert metric.run == more.run == SAME.run


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_other_texts_are_another_run(split: str) -> None:
    other = RUN.identify(COMPONENTS, {**DATA, split: "ba" * 32})
    assert other.run != SAME.run
    assert (other.training == SAME.training) == (split == "test")
    assert (other.scoring == SAME.scoring) == (split != "test")


def test_options_are_part_of_a_run_at_any_depth() -> None:
    part = RUN.objective.parts[0]
    other = RUN.model_copy(
        update={"objective": ObjectiveSpec(parts=(part.model_copy(update={"options": {"cycles": 4, "ratio": 0.25}}),))}
    )
    assert other.identify(COMPONENTS, DATA).training != SAME.training


@pytest.mark.parametrize("part", ["system", "objective", "task", "tokenizer", "backbone", "training", "scoring"])
def test_specs_are_frozen(part: str) -> None:
    spec = getattr(RUN, part)
    name = next(iter(type(spec).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec, name, getattr(spec, name))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(RUN, part, spec)


def test_defaults_are_not_shared() -> None:
    first, second = (SystemSpec(name="lm", label="lm") for _ in range(2))
    first.options["latent_size"] = 1
    assert second.options == {}


def test_the_scoring_of_a_trained_model_is_another_run_than_its_training() -> None:
    scored = RUN.model_copy(update={"training": None})
    assert scored.identify(COMPONENTS, DATA).training != SAME.training
    assert RunSpec.model_validate_json(scored.model_dump_json()) == scored


def test_title() -> None:
    assert RUN.title == "snli embed seed 0"

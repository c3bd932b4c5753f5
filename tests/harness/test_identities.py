"""Every entry of a run spec is in the identity of its training, in that of its scoring, or changes no number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.harness.run import run
from bench.reading import parse_as
from bench.records.schema import Record
from bench.specs import RunSpec
from tests.test_specs import NAMES, NO_IDENTITY, OTHERS, is_scoring

MakeSpec = Callable[..., RunSpec]

NOTICED: dict[str, Any] = {
    "system.name": "softmax",
    "system.options.latent_size": 8,
    "system.options.representation": "attention_pool",
    "objective.parts": [{"name": "constant", "options": {"weight": 0.5}}],
    "task.limits.train": 11,
    "task.limits.test": 5,
    "task.max_tokens": 12,
    "task.max_source_tokens": 5,
    "tokenizer.vocabulary_size": 270,
    "backbone.layers": 1,
    "backbone.width": 8,
    "backbone.heads": 1,
    "backbone.positions": 100,
    "backbone.dropout": 0.0,
    "training.epochs": 1,
    "training.batch_tokens": 200,
    "training.micro_batch_tokens": 64,
    "training.learning_rate": 2e-3,
    "training.weight_decay": 0.5,
    "training.warmup": 1.0,
    "training.clip_norm": 0.01,
    "scoring.n_importance_samples": 5,
    "scoring.bootstrap_samples": 19,
    "scoring.n_generations": 3,
    "decoding.strategy": "greedy",
    "decoding.temperature": 0.1,
    "decoding.top_k": 1,
    "decoding.top_p": 0.01,
    "decoding.samples_per_source": 2,
    "decoding.max_tokens": 3,
    "decoding.repetition_penalty": 9.0,
    "seed": 1,
}
"""A value of each entry that the numbers of a tiny conditional run show."""

ELSEWHERE = {
    *("task.name", "task.source", "task.conditional", "backbone.kind"),  # they mean other texts, which have checksums
    *("tokenizer.kind", "tokenizer.path", "backbone.source", "backbone.path"),  # test_pretrained.py changes them
    *("backbone.name", "backbone.revision"),  # of the hub
    *("decoding.beams", "decoding.min_tokens"),  # of another strategy; of texts that end by themselves
    "task.limits.valid",  # it may choose another epoch
    "training.precision",  # test_harness_bf16.py changes it
}
"""Entries that cannot be changed alone."""

WITHOUT_NUMBERS = {
    "system.label": "embed:latent_size=32",
    "scale": "other",
    "training.activation_checkpointing": True,
    "training.checkpoint_seconds": 0.0,
    "scoring.batch_tokens": 100_000,
}


@pytest.fixture(scope="module")
def spec(micro: MakeSpec) -> RunSpec:
    return micro(
        "embed",
        "quora",
        limits={"train": 12, "valid": 4, "test": 6},
        scoring={"n_importance_samples": 3, "batch_tokens": 512, "bootstrap_samples": 20, "n_generations": 4},
    )


@pytest.fixture(scope="module")
def record(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return run(spec, tmp_path_factory.mktemp("plain"))


def changed(spec: RunSpec, path: str, value: Any) -> RunSpec:
    content = spec.model_dump(mode="json")
    *parents, last = path.split(".")
    place = content
    for key in parents:
        place = place[key]
    assert place.get(last) != value
    place[last] = value
    return parse_as(RunSpec, content, "test")


def weights(record: Record) -> str | None:
    assert record.model is not None
    return record.model.weights_sha256


def test_every_entry_is_tried() -> None:
    stored_if_set = {"training.micro_batch_tokens"}  # and training.compile, which takes a minute
    assert {*NOTICED, *ELSEWHERE, *WITHOUT_NUMBERS} == {*OTHERS, *stored_if_set}
    assert WITHOUT_NUMBERS.keys() == (NO_IDENTITY | NAMES) - ELSEWHERE


@pytest.mark.parametrize("path", sorted(path for path in NOTICED if not is_scoring(path)))
def test_an_entry_that_changes_the_weights_identifies_the_training(
    spec: RunSpec, record: Record, tmp_path: Path, path: str
) -> None:
    other = run(changed(spec, path, NOTICED[path]), tmp_path)
    assert weights(other) != weights(record)
    assert other.training_id != record.training_id
    assert other.run_id != record.run_id


@pytest.mark.parametrize("path", sorted(filter(is_scoring, NOTICED)))
def test_an_entry_that_changes_scores_alone_identifies_the_scoring(
    spec: RunSpec, record: Record, tmp_path: Path, path: str
) -> None:
    other = run(changed(spec, path, NOTICED[path]), tmp_path)
    assert weights(other) == weights(record)
    assert other.training_id == record.training_id
    assert other.metrics != record.metrics
    assert other.scoring_id != record.scoring_id
    assert other.run_id != record.run_id


@pytest.mark.parametrize("path", sorted(WITHOUT_NUMBERS))
def test_an_entry_in_neither_identity_changes_no_number(
    spec: RunSpec, record: Record, tmp_path: Path, path: str
) -> None:
    other = run(changed(spec, path, WITHOUT_NUMBERS[path]), tmp_path)
    assert weights(other) == weights(record)
    assert (other.training_id, other.scoring_id) == (record.training_id, record.scoring_id)
    for score, same in zip(record.metrics, other.metrics, strict=True):
        # Passes of another size round differently; MI is a small difference of large terms.
        assert same.value == pytest.approx(score.value, rel=1e-6, abs=1e-5 if score.name == "MI" else 1e-12)

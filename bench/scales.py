"""How big everything is: the scales, by name or from YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from bench import resources
from bench.errors import unknown_name
from bench.reading import parse_as
from bench.specs import (
    BackboneSpec,
    DecodingSpec,
    EncoderKind,
    EncoderSpec,
    ScoringSpec,
    Spec,
    TokenizerSpec,
    TrainingSpec,
)
from bench.tasks.task import Split, task_names


class Scale(Spec):
    """How big everything is: the parts of a run spec that a name such as ``smoke`` stands for.

    Attributes:
        description: one line.
        limits: first n texts of each split.
        max_tokens: longest text.
        max_source_tokens: longest source.
        encoder: of systems that have one of their own; what is not said of it is as for the backbone.
        tasks: by task name, entries that differ for it.
    """

    description: str = ""
    limits: dict[Split, int] = Field(default_factory=dict)
    max_tokens: int = 256
    max_source_tokens: int = 256
    tokenizer: TokenizerSpec = TokenizerSpec()
    backbone: BackboneSpec = BackboneSpec()
    encoder: EncoderSpec = EncoderSpec()
    training: TrainingSpec = TrainingSpec()
    scoring: ScoringSpec = ScoringSpec()
    decoding: DecodingSpec = DecodingSpec()
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def for_task(self, task: str) -> Scale:
        """Returns the scale with the entries that differ for ``task`` put in."""
        base = self.model_dump(exclude={"tasks"}, exclude_unset=True)
        return parse_as(Scale, _merged(base, self.tasks.get(task, {})), f"scale entries of task {task!r}")

    def encoder_for(self, kind: EncoderKind | None, backbone: BackboneSpec | None = None) -> EncoderSpec | None:
        """Returns the encoder of a system that has one of ``kind``.

        In what is not said of it, it is as ``backbone``, by default the scale's.
        """
        if kind is None:
            return None
        sizes = (backbone or self.backbone).model_dump(include={"layers", "width", "heads", "positions", "dropout"})
        said = self.encoder.model_dump(exclude_unset=True)
        return EncoderSpec(**{"vocabulary_size": self.tokenizer.vocabulary_size, **sizes, **said, "kind": kind})


def load_scale(name: str) -> Scale:
    """Returns a scale by name, or from a YAML file.

    Raises:
        BenchError: neither a scale nor a file, or a file that is not a scale, for any task.
    """
    scale = parse_as(Scale, resources.read("scales", name), f"scale {name!r}")
    for task in scale.tasks:
        if task not in task_names():
            raise unknown_name(f"task in scale {name!r}", task, task_names())
        scale.for_task(task)
    return scale


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with ``changes`` put in, mapping by mapping."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged

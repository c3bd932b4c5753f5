"""Scales, by name or from YAML files: the sizes of everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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
from bench.tasks import TASKS, Split


class Scale(Spec):
    """The sizes of everything: the entries of a run spec that a name such as ``smoke`` stands for.

    Attributes:
        description: one line.
        limits: number of texts of each split, the first ones.
        max_tokens: longest text.
        max_source_tokens: longest source.
        encoder: of systems with a separate encoder; entries that are not set are those of the backbone.
        tasks: task name to the entries that differ for it.
    """

    description: str = ""
    limits: dict[Split, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    max_tokens: int = Field(256, ge=3)
    max_source_tokens: int = Field(256, ge=3)
    tokenizer: TokenizerSpec = TokenizerSpec()
    backbone: BackboneSpec = BackboneSpec()
    encoder: EncoderSpec = EncoderSpec()
    training: TrainingSpec = TrainingSpec()
    scoring: ScoringSpec = ScoringSpec()
    decoding: DecodingSpec = DecodingSpec()
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def for_task(self, task: str) -> Scale:
        """Returns the scale with the entries of ``task`` in place of its own."""
        base = self.model_dump(exclude={"tasks"}, exclude_unset=True)
        return parse_as(Scale, _merged(base, self.tasks.get(task, {})), f"scale entries of task {task!r}")

    def encoder_for(self, kind: EncoderKind | None, backbone: BackboneSpec | None = None) -> EncoderSpec | None:
        """Returns the separate encoder of a system, of the given ``kind``; None for None.

        Sizes that are not set are those of ``backbone``, by default the scale's.
        """
        if kind is None:
            return None
        sizes = (backbone or self.backbone).model_dump(include={"layers", "width", "heads", "positions", "dropout"})
        own_sizes = self.encoder.model_dump(exclude_unset=True)
        return EncoderSpec(**{"vocabulary_size": self.tokenizer.vocabulary_size, **sizes, **own_sizes, "kind": kind})


def load_scale(name: str) -> Scale:
    """Returns a scale by name, or from a YAML file.

    Raises:
        BenchError: neither a scale nor a file, or a file that is not a scale, for any task.
    """
    scale = parse_as(Scale, resources.read("scales", name), f"scale {name!r}")
    for task in scale.tasks:
        if task not in TASKS.names():
            raise unknown_name(f"task in scale {name!r}", task, TASKS.names())
        scale.for_task(task)
    return scale


def scale_title(name: str) -> str:
    """Returns the name of a scale in records and folders: a file that is named like a packaged scale keeps its suffix.

    So ``mine/tiny.yaml`` is ``tiny``, and ``mine/smoke.yaml`` is ``smoke.yaml``, which is not the packaged ``smoke``.
    """
    path = Path(name)
    return path.name if path.suffix and path.stem in resources.names("scales") else path.stem


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with the entries of ``changes``; where both have a mapping, the two are merged."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged

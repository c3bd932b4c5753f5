"""Scales, by name or from YAML files: the sizes of everything."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
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


class NamedDecoding(DecodingSpec):
    """How a scale decodes.

    Attributes:
        name: as of ``--decoding``, for example ``paper``; replaces the entries that it stands for.
    """

    name: str = Field("", exclude_if=lambda name: not name)


class Scale(Spec):
    """The sizes of everything: the entries of a run spec that a name such as ``smoke`` stands for.

    Attributes:
        description: one line.
        real_texts: whether runs need real texts, because the embedded grammars are too small for the model.
        limits: split (train, valid or test) to the number of its first texts that are used; by default all.
        max_tokens: longest text in tokens, BOS included; longer ones are cut, and the record counts them.
        max_source_tokens: the same for the sources of a conditional task.
        encoder: of systems with a separate encoder; entries that are not set are those of the backbone.
        backbones: what stands behind the @ of a label to the entries that it changes, for example ``layers=2x`` to the
            name of a pretrained model with twice the layers.
        tasks: task name to the entries that differ for it.
    """

    description: str = ""
    real_texts: bool = Field(False, exclude_if=lambda real: not real)
    limits: dict[Split, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    max_tokens: int = Field(256, ge=3)
    max_source_tokens: int = Field(256, ge=3)
    tokenizer: TokenizerSpec = TokenizerSpec()
    backbone: BackboneSpec = BackboneSpec()
    encoder: EncoderSpec = EncoderSpec()
    training: TrainingSpec = TrainingSpec()
    scoring: ScoringSpec = ScoringSpec()
    decoding: NamedDecoding = NamedDecoding()
    backbones: dict[str, dict[str, Any]] = Field(default_factory=dict, exclude_if=lambda backbones: not backbones)
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


def load_scale(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> Scale:
    """Returns a scale by name, or from a YAML file.

    Args:
        name: of the scale or file.
        settings: entries to replace, by their path, as ``training.epochs``; also those that a task has of its own.

    Raises:
        BenchError: neither a scale nor a file, or a file or setting that is not one of a scale, for any task.
    """
    content = resources.read("scales", name)
    scale = parse_as(Scale, content, f"scale {name!r}")
    for path, value in settings.items():
        content = _replaced(content, path.split("."), value)
        scale = parse_as(Scale, content, f"scale {name!r} with {path}={value}")
    for changes, entries in scale.backbones.items():
        parse_as(BackboneSpec, entries, f"backbone {changes!r} in scale {name!r}")
    for task in scale.tasks:
        if task not in TASKS.names():
            raise unknown_name(f"task in scale {name!r}", task, TASKS.names())
        scale.for_task(task)
    return scale


def is_scale(name: str) -> bool:
    """Returns whether a YAML file has an entry that scales have and suites do not; the rest may be invalid.

    Raises:
        BenchError: the file cannot be read.
    """
    if not name.endswith(resources.SUFFIXES):
        return False
    content = resources.read("scales", name)
    return isinstance(content.get("tasks"), dict) or bool(content.keys() & Scale.model_fields.keys() - {"tasks"})


def fields_page() -> str:
    """Returns the page that documents every field of a scale, from the models."""
    lines = [
        "# Fields of a scale",
        "",
        "A scale is a YAML file with these fields; those that are left out have their default. `tasks` maps the name",
        "of a task to fields that differ for it. `della-bench show SCALE` prints all fields of a scale. The option",
        "`--set training.epochs=2` replaces a field for all tasks, `--set tasks.snli.max_tokens=9` for one. The",
        "command `python -m bench.scales > docs/scales.md` makes this page.",
    ]
    sections: dict[str, type[Spec]] = {
        name: model
        for name, field in Scale.model_fields.items()
        if isinstance(model := field.annotation, type) and issubclass(model, Spec)
    }
    tables: dict[str, type[Spec]] = {"": Scale, **sections}
    for title, section in tables.items():
        lines += ["", f"## `{title}`" if title else "## Top level", "", "| field | values | default | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        texts = _field_texts(section)
        for name, entry in section.model_json_schema()["properties"].items():
            if title or name not in sections:
                default = "" if entry.get("default") in (None, {}, "") else f"`{json.dumps(entry['default'])}`"
                lines.append(f"| `{name}` | {_values(entry)} | {default} | {texts.get(name, '')} |")
    return "\n".join(lines) + "\n"


def _values(entry: Mapping[str, Any]) -> str:
    """Returns the values that a field of a JSON Schema allows, for example ``number > 0``."""
    if "anyOf" in entry:
        return " or ".join(_values(option) for option in entry["anyOf"] if option.get("type") != "null")
    if constants := entry.get("enum") or ([entry["const"]] if "const" in entry else []):
        return ", ".join(f"`{constant}`" for constant in constants)
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {entry[key]}" for key, sign in signs.items() if key in entry)
    names = {"object": "mapping", "boolean": "`true` or `false`", "string": "text"}
    kind = "folder" if entry.get("format") == "path" else names.get(entry["type"], entry["type"])
    return f"{kind} {bounds}".rstrip()


def _field_texts(model: type) -> dict[str, str]:
    """Returns name to description of the attributes that the docstrings of a model and its bases list."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        section = (inspect.getdoc(base) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
        for match in re.finditer(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE):
            texts[match[1]] = " ".join(match[2].replace("``", "`").split())
    return texts


def scale_title(name: str) -> str:
    """Returns the name of a scale in records and folders: a file that is named like a packaged scale keeps its suffix.

    So ``mine/tiny.yaml`` is ``tiny``, and ``mine/smoke.yaml`` is ``smoke.yaml``, which is not the packaged ``smoke``.
    """
    path = Path(name)
    return path.name if path.suffix and path.stem in resources.names("scales") else path.stem


def _replaced(content: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    """Returns the content of a scale with another value at ``path``, there and in the entries of tasks that have it."""
    change = _nested(path, value)
    changed = _merged(content, change)
    for task, entries in changed.get("tasks", {}).items():
        if _has(entries, path):
            changed = _merged(changed, {"tasks": {task: change}})
    return changed


def _nested(path: Sequence[str], value: object) -> dict[str, Any]:
    key, *inner = path
    return {key: _nested(inner, value) if inner else value}


def _has(entries: Any, path: Sequence[str]) -> bool:
    key, *inner = path
    return isinstance(entries, Mapping) and key in entries and (not inner or _has(entries[key], inner))


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with the entries of ``changes``; where both have a mapping, the two are merged."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


if __name__ == "__main__":
    sys.stdout.write(fields_page())

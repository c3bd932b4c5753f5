"""From a spec to a backbone, or to the separate encoder of a system that has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.backbones.backbone import Backbone
from bench.backbones.encoder_decoder import EncoderDecoder
from bench.backbones.encoder_only import EncoderOnly
from bench.backbones.families import FAMILIES
from bench.backbones.injection import register_attention
from bench.backbones.lora import add_adapters
from bench.backbones.stack import TransformerStack
from bench.errors import BenchError, unknown_name
from bench.pretrained import config_settings, errors_in_one_line
from bench.specs import BackboneKind, BackboneSpec, EncoderKind, EncoderSpec, StackSpec
from bench.tokenizers import Tokenizer

StackT = TypeVar("StackT", bound=TransformerStack)

FILES = ("config.json", "model.safetensors")
"""Files in a folder of pretrained weights."""

_BACKBONES: Mapping[BackboneKind, Mapping[str, type[Backbone]]] = {
    "decoder-only": FAMILIES,
    "encoder-decoder": {"bart": EncoderDecoder},
}
_ENCODERS: Mapping[EncoderKind, Mapping[str, type[EncoderOnly]]] = {"bert": {"bert": EncoderOnly}}
"""The stacks of each kind by ``model_type`` of transformers; the first one is the default from scratch."""


class StackSize(NamedTuple):
    """Length of the longest sequence that a stack takes, and its hidden size."""

    positions: int
    width: int


def check_backbone(spec: BackboneSpec) -> StackSize:
    """Checks that a backbone can be built, without loading its weights.

    Raises:
        BenchError: as for ``build_backbone``, as far as it can be known without the weights.
    """
    return _checked(_BACKBONES[spec.kind], spec, "backbone")[1]


def check_encoder(spec: EncoderSpec) -> StackSize:
    """Checks a separate encoder as ``check_backbone`` checks a backbone."""
    return _checked(_ENCODERS[spec.kind], spec, "encoder")[1]


def build_backbone(spec: BackboneSpec, tokenizer: Tokenizer) -> Backbone:
    """Builds the backbone of a run; random weights come from torch's global generator.

    Raises:
        BenchError: the width is no multiple of the heads, the source lacks its path or name, or the weights cannot be
            loaded, belong to a model of a different kind, or do not fit the tokenizer.
    """
    backbone = _build(_BACKBONES[spec.kind], spec, tokenizer, "backbone")
    if spec.lora_rank is not None:
        add_adapters(backbone.model, spec.lora_rank, backbone.projections)
    return backbone


def build_encoder(spec: EncoderSpec, tokenizer: Tokenizer) -> EncoderOnly:
    """Builds a separate encoder as ``build_backbone`` builds a backbone."""
    return _build(_ENCODERS[spec.kind], spec, tokenizer, "encoder")


def _build(families: Mapping[str, type[StackT]], spec: StackSpec, tokenizer: Tokenizer, section: str) -> StackT:
    register_attention()
    stack, _ = _checked(families, spec, section)
    if spec.source == "scratch":
        return stack.from_scratch(spec, tokenizer)
    where = spec.location(section)
    with errors_in_one_line(section, where):
        return stack.from_pretrained(spec, where, tokenizer)


def _checked(families: Mapping[str, type[StackT]], spec: StackSpec, section: str) -> tuple[type[StackT], StackSize]:
    """Returns the class and the size of a stack, as far as they are known without its weights."""
    if spec.source == "scratch":
        model_type = spec.family or next(iter(families))
        if model_type not in families:
            raise unknown_name(f"{section}.family of kind {spec.kind}", model_type, families)
        _check_sizes(families[model_type], model_type, spec, section)
        return families[model_type], StackSize(spec.positions, spec.width)
    where = spec.location(section)
    if spec.source == "folder" and not all(Path(where, file).is_file() for file in FILES):
        raise BenchError(f"no model in {where}: expected {' and '.join(FILES)}.")
    with errors_in_one_line(section, where):
        settings = config_settings(where, spec.revision)
        found: Any = settings.get("model_type")
        # transformers would only warn, and continue with random weights.
        if found not in families:
            known = ", ".join(families)
            raise BenchError(f"{where}: {section}.kind {spec.kind!r} takes weights of {known}, not of {found!r}.")
        stack = families[str(found)]
        config = stack.model_class().config_class.from_dict(settings)
        return stack, StackSize(int(config.max_position_embeddings), int(config.hidden_size))


def _check_sizes(stack: type[TransformerStack], model_type: str, spec: StackSpec, section: str) -> None:
    """Refuses sizes of a stack from scratch that its family cannot have."""
    if spec.width % spec.heads:
        raise BenchError(f"{section}.width is {spec.width}, no multiple of {section}.heads, {spec.heads}.")
    if stack.rotates and (size := spec.width // spec.heads) % 2:
        raise BenchError(f"{section}.width / {section}.heads is {size}; {model_type} needs an even number.")
    if spec.key_value_heads and not stack.shares_values:
        raise BenchError(f"{section}.key_value_heads: {model_type} has as many heads of values as of queries.")
    if spec.key_value_heads and spec.heads % spec.key_value_heads:
        raise BenchError(
            f"{section}.heads is {spec.heads}, no multiple of {section}.key_value_heads, {spec.key_value_heads}."
        )

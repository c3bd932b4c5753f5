"""From a spec to a backbone, or to the separate encoder of a system that has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from transformers import PreTrainedConfig

from bench.backbones.backbone import Backbone
from bench.backbones.decoder_only import DecoderOnly
from bench.backbones.encoder_decoder import EncoderDecoder
from bench.backbones.encoder_only import EncoderOnly
from bench.backbones.injection import register_attention
from bench.backbones.stack import TransformerStack
from bench.errors import BenchError
from bench.pretrained import access, errors_in_one_line
from bench.specs import BackboneKind, BackboneSpec, EncoderKind, EncoderSpec, StackSpec
from bench.tokenizers import Tokenizer

StackT = TypeVar("StackT", bound=TransformerStack)

FILES = ("config.json", "model.safetensors")
"""Files in a folder of pretrained weights."""

_BACKBONES: Mapping[BackboneKind, type[Backbone]] = {"decoder-only": DecoderOnly, "encoder-decoder": EncoderDecoder}
_ENCODERS: Mapping[EncoderKind, type[EncoderOnly]] = {"bert": EncoderOnly}


class StackSize(NamedTuple):
    """Length of the longest sequence that a stack takes, and its hidden size."""

    positions: int
    width: int


def check_backbone(spec: BackboneSpec) -> StackSize:
    """Checks that a backbone can be built, without loading its weights.

    Raises:
        BenchError: as for ``build_backbone``, as far as it can be known without the weights.
    """
    return _check(_BACKBONES[spec.kind], spec, "backbone")


def check_encoder(spec: EncoderSpec) -> StackSize:
    """Checks a separate encoder as ``check_backbone`` checks a backbone."""
    return _check(_ENCODERS[spec.kind], spec, "encoder")


def build_backbone(spec: BackboneSpec, tokenizer: Tokenizer) -> Backbone:
    """Builds the backbone of a run; random weights come from torch's global generator.

    Raises:
        BenchError: the width is no multiple of the heads, the source lacks its path or name, or the weights cannot be
            loaded, belong to a model of a different kind, or do not fit the tokenizer.
    """
    return _build(_BACKBONES[spec.kind], spec, tokenizer, "backbone")


def build_encoder(spec: EncoderSpec, tokenizer: Tokenizer) -> EncoderOnly:
    """Builds a separate encoder as ``build_backbone`` builds a backbone."""
    return _build(_ENCODERS[spec.kind], spec, tokenizer, "encoder")


def _build(stack: type[StackT], spec: StackSpec, tokenizer: Tokenizer, section: str) -> StackT:
    register_attention()
    _check(stack, spec, section)
    if spec.source == "scratch":
        return stack.from_scratch(spec, tokenizer)
    where = spec.location(section)
    with errors_in_one_line(section, where):
        return stack.from_pretrained(spec, where, tokenizer)


def _check(stack: type[TransformerStack], spec: StackSpec, section: str) -> StackSize:
    if spec.source == "scratch":
        if spec.width % spec.heads:
            raise BenchError(f"{section}.width is {spec.width}, no multiple of {section}.heads, {spec.heads}.")
        return StackSize(spec.positions, spec.width)
    where = spec.location(section)
    if spec.source == "folder" and not all(Path(where, file).is_file() for file in FILES):
        raise BenchError(f"no model in {where}: expected {' and '.join(FILES)}.")
    config_class = stack.model_class.config_class
    with errors_in_one_line(section, where):
        model_type = PreTrainedConfig.get_config_dict(where, revision=spec.revision, **access(where))[0].get(
            "model_type"
        )
        # transformers would only warn, and continue with random weights.
        if model_type != config_class.model_type:
            raise BenchError(
                f"{where}: {section}.kind {spec.kind!r} takes {config_class.model_type!r} weights, not {model_type!r}."
            )
        config = config_class.from_pretrained(where, revision=spec.revision, **access(where))
        return StackSize(int(config.max_position_embeddings), int(config.hidden_size))

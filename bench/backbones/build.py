"""From a spec to a backbone, and to the encoder of a system that has one of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from safetensors import SafetensorError
from transformers import PreTrainedConfig

from bench.backbones.backbone import Backbone
from bench.backbones.decoder_only import pretrained_gpt2, scratch_gpt2
from bench.backbones.encoder_decoder import pretrained_bart, scratch_bart
from bench.backbones.encoder_only import EncoderOnly, pretrained_bert, scratch_bert
from bench.backbones.injection import register_attention
from bench.backbones.stack import Stack
from bench.backbones.tokenizers import Tokenizer
from bench.errors import BenchError
from bench.spec import BackboneKind, BackboneSpec, EncoderKind, EncoderSpec, StackSpec

SpecT = TypeVar("SpecT", bound=StackSpec)
StackT = TypeVar("StackT", bound=Stack)


@dataclass(frozen=True)
class Maker(Generic[SpecT, StackT]):
    """How stacks of a kind are made.

    Attributes:
        model_type: what the configuration of pretrained weights calls their model.
        scratch: makes one with random weights.
        pretrained: makes one from a folder or the hub.
    """

    model_type: str
    scratch: Callable[[SpecT, Tokenizer], StackT]
    pretrained: Callable[[SpecT, str, Tokenizer], StackT]

    def __call__(self, spec: SpecT, tokenizer: Tokenizer, section: str) -> StackT:
        """Makes the stack that ``section`` of a run's spec asks for.

        Raises:
            BenchError: as for ``build_backbone``.
        """
        if spec.source == "scratch":
            if spec.width % spec.heads:
                raise BenchError(f"{section}.width is {spec.width}, no multiple of {section}.heads, {spec.heads}.")
            return self.scratch(spec, tokenizer)
        where = spec.location(section)
        if spec.source == "folder" and not Path(where, "config.json").is_file():
            raise BenchError(f"no model in {where}: expected config.json and model.safetensors.")
        try:
            found = PreTrainedConfig.get_config_dict(where, revision=spec.revision)[0].get("model_type")
            # transformers would warn, and go on with random weights.
            if found != self.model_type:
                raise BenchError(f"{where}: a {spec.kind} {section} takes {self.model_type!r} weights, not {found!r}.")
            return self.pretrained(spec, where, tokenizer)
        except (OSError, SafetensorError) as error:
            raise BenchError(f"cannot load the {section} from {where}: {str(error).splitlines()[0]}") from error


_BACKBONES: Mapping[BackboneKind, Maker[BackboneSpec, Backbone]] = {
    "decoder-only": Maker("gpt2", scratch_gpt2, pretrained_gpt2),
    "encoder-decoder": Maker("bart", scratch_bart, pretrained_bart),
}
_ENCODERS: Mapping[EncoderKind, Maker[EncoderSpec, EncoderOnly]] = {
    "bert": Maker("bert", scratch_bert, pretrained_bert),
}


def build_backbone(spec: BackboneSpec, tokenizer: Tokenizer) -> Backbone:
    """Builds the backbone of a run; random weights come from torch's global generator.

    Raises:
        BenchError: a width that the heads do not divide, a source without its path or name, or weights that cannot be
            loaded or belong to another model.
    """
    register_attention()
    return _BACKBONES[spec.kind](spec, tokenizer, "backbone")


def build_encoder(spec: EncoderSpec, tokenizer: Tokenizer) -> EncoderOnly:
    """Builds the encoder of a system that has one of its own, as ``build_backbone`` builds the backbone.

    Raises:
        BenchError: as there; or a pretrained encoder for shorter texts or fewer tokens than the run has.
    """
    return _ENCODERS[spec.kind](spec, tokenizer, "encoder")

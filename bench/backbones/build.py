"""From a spec to a backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedConfig

from bench.backbones.backbone import Backbone
from bench.backbones.decoder_only import pretrained_gpt2, scratch_gpt2
from bench.backbones.encoder_decoder import pretrained_bart, scratch_bart
from bench.backbones.injection import register_attention
from bench.backbones.tokenizers import Tokenizer
from bench.errors import BenchError
from bench.spec import BackboneSpec

_SCRATCH: dict[str, Callable[[BackboneSpec, Tokenizer], Backbone]] = {
    "decoder-only": scratch_gpt2,
    "encoder-decoder": scratch_bart,
}
_PRETRAINED: dict[str, Callable[[BackboneSpec, str, Tokenizer], Backbone]] = {
    "decoder-only": pretrained_gpt2,
    "encoder-decoder": pretrained_bart,
}
_MODEL_TYPE = {"decoder-only": "gpt2", "encoder-decoder": "bart"}


def build_backbone(spec: BackboneSpec, tokenizer: Tokenizer) -> Backbone:
    """Builds the backbone of a run; random weights come from torch's global generator.

    Raises:
        BenchError: a width that the heads do not divide, a source without its path or name, or weights that cannot be
            loaded or belong to another model.
    """
    register_attention()
    if spec.source == "scratch":
        if spec.width % spec.heads:
            raise BenchError(f"backbone.width is {spec.width}, no multiple of backbone.heads, {spec.heads}.")
        return _SCRATCH[spec.kind](spec, tokenizer)
    where: Any = spec.path if spec.source == "folder" else spec.name
    if where is None:
        missing = "path" if spec.source == "folder" else "name"
        raise BenchError(f"backbone.source is {spec.source!r} but backbone.{missing} is not set.")
    if spec.source == "folder" and not (where / "config.json").is_file():
        raise BenchError(f"no model in {where}: expected config.json and model.safetensors.")
    try:
        found = PreTrainedConfig.get_config_dict(where, revision=spec.revision)[0].get("model_type")
        # transformers would warn, and go on with random weights.
        if found != _MODEL_TYPE[spec.kind]:
            raise BenchError(
                f"{where}: a {spec.kind} backbone takes {_MODEL_TYPE[spec.kind]!r} weights, not {found!r}."
            )
        return _PRETRAINED[spec.kind](spec, where, tokenizer)
    except (OSError, SafetensorError) as error:
        raise BenchError(f"cannot load the backbone from {where}: {str(error).splitlines()[0]}") from error

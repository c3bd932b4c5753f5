"""From a spec to a backbone, and to the encoder of a system that has one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from safetensors import SafetensorError
from transformers import BartConfig, BertConfig, GPT2Config, PreTrainedConfig

from bench.backbones.backbone import Backbone
from bench.backbones.decoder_only import pretrained_gpt2, scratch_gpt2
from bench.backbones.encoder_decoder import pretrained_bart, scratch_bart
from bench.backbones.encoder_only import EncoderOnly, pretrained_bert, scratch_bert
from bench.backbones.injection import register_attention
from bench.backbones.stack import Stack
from bench.errors import BenchError
from bench.specs import BackboneKind, BackboneSpec, EncoderKind, EncoderSpec, StackSpec
from bench.tokenizers import Tokenizer

SpecT = TypeVar("SpecT", bound=StackSpec)
StackT = TypeVar("StackT", bound=Stack)

FILES = ("config.json", "model.safetensors")
"""What a folder of pretrained weights holds."""


class Size(NamedTuple):
    """The longest sequence that a stack takes, and its hidden size."""

    positions: int
    width: int


@dataclass(frozen=True)
class Maker(Generic[SpecT, StackT]):
    """How stacks of a kind are made.

    Attributes:
        config: of the model whose weights it takes.
        scratch: makes one with random weights.
        pretrained: makes one from a folder or the hub.
    """

    config: type[PreTrainedConfig]
    scratch: Callable[[SpecT, Tokenizer], StackT]
    pretrained: Callable[[SpecT, str, Tokenizer], StackT]

    def check(self, spec: SpecT, section: str) -> Size:
        """Checks that the stack that ``section`` of a run's spec asks for can be made, its weights apart.

        Raises:
            BenchError: as for ``build_backbone``.
        """
        if spec.source == "scratch":
            if spec.width % spec.heads:
                raise BenchError(f"{section}.width is {spec.width}, no multiple of {section}.heads, {spec.heads}.")
            return Size(spec.positions, spec.width)
        where = spec.location(section)
        if spec.source == "folder" and not all(Path(where, file).is_file() for file in FILES):
            raise BenchError(f"no model in {where}: expected {' and '.join(FILES)}.")
        with _one_line(where, section):
            found = PreTrainedConfig.get_config_dict(where, revision=spec.revision)[0].get("model_type")
            # transformers would warn, and go on with random weights.
            if found != self.config.model_type:
                wanted = self.config.model_type
                raise BenchError(f"{where}: {section}.kind {spec.kind!r} takes {wanted!r} weights, not {found!r}.")
            config = self.config.from_pretrained(where, revision=spec.revision)
            return Size(int(config.max_position_embeddings), int(config.hidden_size))

    def __call__(self, spec: SpecT, tokenizer: Tokenizer, section: str) -> StackT:
        """Makes the stack that ``section`` of a run's spec asks for.

        Raises:
            BenchError: as for ``build_backbone``.
        """
        self.check(spec, section)
        if spec.source == "scratch":
            return self.scratch(spec, tokenizer)
        where = spec.location(section)
        with _one_line(where, section):
            return self.pretrained(spec, where, tokenizer)


@contextmanager
def _one_line(where: str, section: str) -> Iterator[None]:
    """Turns what transformers says of files it cannot read into an error of one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise BenchError(f"cannot load the {section} from {where}: {str(error).splitlines()[0]}") from error


_BACKBONES: Mapping[BackboneKind, Maker[BackboneSpec, Backbone]] = {
    "decoder-only": Maker(GPT2Config, scratch_gpt2, pretrained_gpt2),
    "encoder-decoder": Maker(BartConfig, scratch_bart, pretrained_bart),
}
_ENCODERS: Mapping[EncoderKind, Maker[EncoderSpec, EncoderOnly]] = {
    "bert": Maker(BertConfig, scratch_bert, pretrained_bert),
}


def check_backbone(spec: BackboneSpec) -> int:
    """Checks that a backbone can be built, as far as that can be told without its weights.

    Returns:
        The longest sequence it takes.

    Raises:
        BenchError: as ``build_backbone``.
    """
    return _BACKBONES[spec.kind].check(spec, "backbone").positions


def check_encoder(spec: EncoderSpec) -> int:
    """Checks the encoder of a system that has one of its own, as ``check_backbone`` does the backbone."""
    return _ENCODERS[spec.kind].check(spec, "encoder").positions


def build_backbone(spec: BackboneSpec, tokenizer: Tokenizer) -> Backbone:
    """Builds the backbone of a run; random weights come from torch's global generator.

    Raises:
        BenchError: a width that the heads do not divide, a source without its path or name, or weights that cannot be
            loaded or belong to another model.
    """
    register_attention()
    return _BACKBONES[spec.kind](spec, tokenizer, "backbone")


def backbone_width(spec: BackboneSpec) -> int:
    """Returns the hidden size of the backbone of a run, for a system that does not use the backbone itself.

    Raises:
        BenchError: as ``build_backbone``.
    """
    return _BACKBONES[spec.kind].check(spec, "backbone").width


def build_encoder(spec: EncoderSpec, tokenizer: Tokenizer) -> EncoderOnly:
    """Builds the encoder of a system that has one of its own, as ``build_backbone`` builds the backbone.

    Raises:
        BenchError: as there; or a pretrained encoder for fewer tokens than its tokenizer makes.
    """
    return _ENCODERS[spec.kind](spec, tokenizer, "encoder")

"""Model folders: a trained system that can be built again, whether a run trained it or other code did.

``model.json`` says what it is (`ModelSpec`), ``model.safetensors`` holds its weights, ``tokenizer.json`` and, for a
system with an encoder of its own, ``encoder_tokenizer.json`` its tokenizers. The folder of a run is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.backbones import check_encoder
from bench.errors import BenchError
from bench.harness.build import build_system
from bench.interface import System
from bench.reading import parse_as, read_json
from bench.specs import ModelSpec
from bench.storage import atomic_write, file_sha256
from bench.systems import IMPORTERS, SYSTEMS
from bench.tokenizers import BERT_TOKENS, EncoderTokens, Tokenizer, load_tokenizer, read_tokenizer

MODEL, WEIGHTS = "model.json", "model.safetensors"
TOKENIZER, ENCODER_TOKENIZER = "tokenizer.json", "encoder_tokenizer.json"


def save_description(folder: Path, spec: ModelSpec, tokenizer: Tokenizer) -> None:
    """Writes all files of a model folder except the weights."""
    tokenizer.save(folder / TOKENIZER)
    if tokenizer.encoder is not None:
        tokenizer.encoder.tokenizer.save(folder / ENCODER_TOKENIZER)
    atomic_write(folder / MODEL, spec.model_dump_json(indent=2).encode() + b"\n")


@dataclass(frozen=True)
class ModelFolder:
    """A model folder, read but for the weights.

    Attributes:
        path: the folder.
        spec: what the model is.
        tokenizer: its tokenizer, with the tokens of the separate encoder if the system has one.
    """

    path: Path
    spec: ModelSpec
    tokenizer: Tokenizer

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        """Reads a folder.

        Raises:
            BenchError: a file is missing or damaged.
        """
        missing = [name for name in (MODEL, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]
        if missing:
            raise BenchError(f"no model in {folder}: it lacks {', '.join(missing)}.")
        spec = parse_as(ModelSpec, read_json(folder / MODEL), str(folder / MODEL))
        tokenizer = read_tokenizer(folder / TOKENIZER, spec.special_tokens)
        if spec.encoder is not None:
            wordpiece = read_tokenizer(folder / ENCODER_TOKENIZER, BERT_TOKENS)
            tokenizer = tokenizer.with_encoder(EncoderTokens(wordpiece, check_encoder(spec.encoder)))
        return cls(folder, spec, tokenizer)

    def digest(self) -> str:
        """Returns the SHA-256 of the weights, in hex."""
        return file_sha256(self.path / WEIGHTS)

    def load(self) -> System:
        """Returns the system, ready to be scored.

        Raises:
            BenchError: the weights are damaged, or those of another system.
        """
        system = build_system(SYSTEMS.get(self.spec.system.name), self.spec, self.tokenizer)
        load_weights(system, self.path / WEIGHTS)
        return system.eval()


def load_model(folder: Path) -> System:
    """Returns the system in a model folder, ready to be scored.

    Raises:
        BenchError: a file is missing or damaged, or the weights are those of another system.
    """
    return ModelFolder.read(folder).load()


def weights(system: nn.Module) -> dict[str, Tensor]:
    """Returns every parameter and buffer once, tied ones under their first name."""
    return {
        **{name: parameter.detach().contiguous() for name, parameter in system.named_parameters()},
        **{name: buffer.contiguous() for name, buffer in system.named_buffers()},
    }


def load_weights(system: System, path: Path) -> None:
    """Loads what ``weights`` gave into a system of the same spec.

    Raises:
        BenchError: the file is damaged, or holds other weights than the system has.
    """
    try:
        stored = load(path.read_bytes())
    except SafetensorError as error:
        raise BenchError(f"{path}: damaged: {error}") from error
    set_weights(system, stored, path)


def set_weights(system: System, stored: Mapping[str, Tensor], where: Path) -> None:
    """Gives a system the weights and buffers that are named like its own.

    Raises:
        BenchError: they are not those the system has; ``where`` is named.
    """
    there, wanted = ({(name, value.shape) for name, value in one.items()} for one in (stored, weights(system)))
    if differing := sorted({name for name, _ in there ^ wanted}):
        raise BenchError(f"{where}: weights of another system ({len(differing)} differ, first {differing[0]!r}).")
    system.load_state_dict(dict(stored), strict=False)  # tied weights are stored once


def import_model(
    name: str, options: Mapping[str, Any], checkpoint: Path, out: Path, tokenizer: Path, heads: int | None = None
) -> ModelSpec:
    """Turns a checkpoint of other code into a model folder.

    Args:
        name: the system it becomes, by which its importer is registered.
        options: of the system, that the checkpoint does not tell.
        checkpoint: the file.
        out: the folder.
        tokenizer: folder of the tokenizer it was trained with, before special tokens were added.
        heads: attention heads, where the importer's guess is wrong.

    Raises:
        BenchError: the file is no such checkpoint, the tokenizer is another, or the folder cannot be written.
    """
    imported = IMPORTERS.get(name)(checkpoint, options, heads)
    found = load_tokenizer(tokenizer, imported.tokens)
    if len(found) != imported.vocabulary_size:
        raise BenchError(
            f"{checkpoint}: made for {imported.vocabulary_size} tokens; the tokenizer in {tokenizer} with"
            f" {', '.join(imported.tokens)} has {len(found)}."
        )
    origin = f"{checkpoint.name}, sha256 {file_sha256(checkpoint)}"
    spec = imported.spec.model_copy(update={"origin": origin})
    system = build_system(SYSTEMS.get(name), spec, found)
    set_weights(system, imported.weights, checkpoint)
    save_description(out, spec, found)
    atomic_write(out / WEIGHTS, save(weights(system)))
    return spec

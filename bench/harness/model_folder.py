"""Model folders: everything that rebuilds a trained system, written by a run or imported from other code.

``model.json`` is its `ModelSpec`, ``model.safetensors`` its weights, ``tokenizer.json`` its tokenizer, and
``encoder_tokenizer.json`` the tokenizer of its separate encoder, if it has one. The folder of a run is a model folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.backbones import check_encoder
from bench.errors import BenchError
from bench.harness.build import build_system
from bench.harness.weights import WEIGHTS, load_weights, save_weights, set_weights
from bench.interface import System
from bench.reading import parse_as, read_json
from bench.specs import ModelSpec
from bench.storage import atomic_write, file_sha256
from bench.systems import IMPORTERS, SYSTEMS
from bench.tokenizers import BERT_TOKENS, EncoderTokens, Tokenizer, load_tokenizer, load_wordpiece, read_tokenizer

MODEL, TOKENIZER, ENCODER_TOKENIZER = "model.json", "tokenizer.json", "encoder_tokenizer.json"


def save_description(folder: Path, spec: ModelSpec, tokenizer: Tokenizer) -> None:
    """Writes all files of a model folder except the weights."""
    tokenizer.save(folder / TOKENIZER)
    if tokenizer.encoder is not None:
        tokenizer.encoder.tokenizer.save(folder / ENCODER_TOKENIZER)
    atomic_write(folder / MODEL, spec.model_dump_json(indent=2).encode() + b"\n")


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose weights are not read yet.

    Attributes:
        path: the folder.
        spec: of the model.
        tokenizer: its tokenizer, with the tokens of the separate encoder if the system has one.
    """

    path: Path
    spec: ModelSpec
    tokenizer: Tokenizer

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Returns whether a folder has weights."""
        return (folder / WEIGHTS).is_file()

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
            tokenizer = tokenizer.with_encoder(EncoderTokens(wordpiece, check_encoder(spec.encoder).positions))
        return cls(folder, spec, tokenizer)

    def digest(self) -> str:
        """Returns the SHA-256 of the weights, in hex."""
        return file_sha256(self.path / WEIGHTS)

    def load(self) -> System:
        """Returns the system in evaluation mode.

        Raises:
            BenchError: the weights are damaged, or those of another system.
        """
        system = build_system(SYSTEMS.get(self.spec.system.name), self.spec, self.tokenizer)
        load_weights(system, self.path / WEIGHTS)
        return system.eval()


def share_model(source: Path, target: Path) -> None:
    """Gives the folder ``target`` the model of the folder ``source``, as links where the file system has them.

    Raises:
        BenchError: a file cannot be read or written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS, ENCODER_TOKENIZER, TOKENIZER, MODEL):
            (target / name).unlink(missing_ok=True)
            try:
                (target / name).hardlink_to(source / name)
            except FileNotFoundError:
                continue  # there is no separate encoder
            except OSError:
                shutil.copyfile(source / name, target / name)
    except OSError as error:
        raise BenchError(f"cannot write to {target}: {error.strerror or error}") from error


def load_model(folder: Path) -> System:
    """Returns the system in a model folder, in evaluation mode.

    Raises:
        BenchError: a file is missing or damaged, or the weights are those of another system.
    """
    return ModelFolder.read(folder).load()


def import_model(
    name: str,
    options: Mapping[str, Any],
    checkpoint: Path,
    out: Path,
    tokenizer: Path,
    heads: int | None = None,
    encoder_tokenizer: Path | None = None,
) -> ModelSpec:
    """Turns a checkpoint of other code into a model folder.

    Args:
        name: the system that the checkpoint becomes; its importer has the same name.
        options: options of the system that the checkpoint does not contain.
        checkpoint: the file.
        out: the model folder.
        tokenizer: folder of the tokenizer of the checkpoint, before special tokens were added.
        heads: attention heads, if the checkpoint does not contain their number.
        encoder_tokenizer: folder of the tokenizer of the separate encoder; only for a system that has one.

    Raises:
        BenchError: the file is not such a checkpoint, a tokenizer is missing or does not fit, or the folder cannot be
            written.
    """
    importer, cls = IMPORTERS.get(name), SYSTEMS.get(name)
    if cls.encoder_kind is not None and encoder_tokenizer is None:
        raise BenchError(f"{name} has an encoder of its own; name the folder of its tokenizer (--encoder-tokenizer).")
    if cls.encoder_kind is None and encoder_tokenizer is not None:
        raise BenchError(f"--encoder-tokenizer: {name} has no encoder of its own.")
    imported = importer(checkpoint, options, heads)
    own_tokenizer = load_tokenizer(tokenizer, imported.tokens, imported.lossless)
    if len(own_tokenizer) != imported.vocabulary_size:
        raise BenchError(
            f"{checkpoint}: made for {imported.vocabulary_size} tokens; the tokenizer in {tokenizer} with"
            f" {', '.join(imported.tokens)} has {len(own_tokenizer)}."
        )
    if imported.spec.encoder is not None and encoder_tokenizer is not None:
        wordpiece = load_wordpiece(encoder_tokenizer)
        if len(wordpiece) != imported.spec.encoder.vocabulary_size:
            raise BenchError(
                f"{checkpoint}: its encoder is made for {imported.spec.encoder.vocabulary_size} tokens; the tokenizer"
                f" in {encoder_tokenizer} has {len(wordpiece)}."
            )
        own_tokenizer = own_tokenizer.with_encoder(EncoderTokens(wordpiece, imported.spec.encoder.positions))
    origin = f"{checkpoint.name}, sha256 {file_sha256(checkpoint)}"
    spec = imported.spec.model_copy(update={"origin": origin})
    system = build_system(cls, spec, own_tokenizer)
    set_weights(system, imported.weights, checkpoint)
    save_description(out, spec, own_tokenizer)
    save_weights(system, out / WEIGHTS)
    return spec

"""Model folders: everything that rebuilds a trained system, written by a run or imported from other code.

``model.json`` is its `ModelSpec`, ``model.safetensors`` its weights, ``tokenizer.json`` its tokenizer, and
``encoder_tokenizer.json`` the tokenizer of its separate encoder, if it has one. The folder of a run is a model folder.
``model.json`` also contains the SHA-256 of the other files and of its own content, so that damage is noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save

from bench.backbones import check_encoder
from bench.errors import BenchError
from bench.harness.build import build_system
from bench.harness.weights import WEIGHTS, load_weights, set_weights, weights
from bench.identity import digest
from bench.interface import System
from bench.pretrained import count_weights, errors_in_one_line, without_hub
from bench.reading import parse_as, read_json
from bench.records.store import StoredRun
from bench.specs import ModelSpec, StackSpec
from bench.storage import atomic_write_all, check_sha256, damaged, file_sha256
from bench.systems import IMPORTERS, SYSTEMS
from bench.tokenizers import BERT_TOKENS, EncoderTokens, Tokenizer, load_tokenizer, load_wordpiece, read_tokenizer

logger = logging.getLogger(__name__)

MODEL, TOKENIZER, ENCODER_TOKENIZER = "model.json", "tokenizer.json", "encoder_tokenizer.json"
DIGESTS = "sha256"
"""Key in ``model.json``: SHA-256 of each file of the folder, in hex; that of ``model.json`` covers the rest of it."""


def save_model(folder: Path, spec: ModelSpec, tokenizer: Tokenizer, system: System) -> str:
    """Writes a model folder, ``model.json`` last.

    Returns:
        SHA-256 of the weights, in hex.

    Raises:
        BenchError: a file cannot be written.
    """
    files = {TOKENIZER: tokenizer.to_bytes()}
    if tokenizer.encoder is not None:
        files[ENCODER_TOKENIZER] = tokenizer.encoder.tokenizer.to_bytes()
    files[WEIGHTS] = save(weights(system))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    description = spec.model_dump(mode="json")
    digests[MODEL] = digest([description, digests])
    files[MODEL] = json.dumps({**description, DIGESTS: digests}, indent=2, ensure_ascii=False).encode() + b"\n"
    atomic_write_all({folder / name: content for name, content in files.items()})
    return digests[WEIGHTS]


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose weights are not read yet.

    Attributes:
        path: the folder.
        spec: of the model.
        tokenizer: its tokenizer, with the tokens of the separate encoder if the system has one.
        weights_sha256: SHA-256 of the file of weights, in hex.
    """

    path: Path
    spec: ModelSpec
    tokenizer: Tokenizer
    weights_sha256: str

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Returns whether a folder has weights."""
        return (folder / WEIGHTS).is_file()

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        """Reads and verifies a folder; one of an earlier version, without digests, is named in a warning.

        Raises:
            BenchError: a file is missing or damaged.
        """
        content, digests = _verified(folder)
        if not digests:
            logger.warning("%s: written without digests; nothing would tell that its files are damaged", folder)
        spec = parse_as(ModelSpec, content, str(folder / MODEL))
        tokenizer = read_tokenizer(folder / TOKENIZER, spec.special_tokens)
        if spec.encoder is not None:
            wordpiece = read_tokenizer(folder / ENCODER_TOKENIZER, BERT_TOKENS)
            with without_hub():
                positions = check_encoder(spec.encoder).positions
            tokenizer = tokenizer.with_encoder(EncoderTokens(wordpiece, positions))
        return cls(folder, spec, tokenizer, digests.get(WEIGHTS) or file_sha256(folder / WEIGHTS))

    def load(self) -> System:
        """Returns the system in evaluation mode; its weights are those of ``weights_sha256``.

        Raises:
            BenchError: the weights are damaged, have changed since the folder was read, or are those of another system.
        """
        cls = SYSTEMS.get(self.spec.system.name)
        with errors_in_one_line("model", self.path), without_hub():
            self._check_sizes(cls)
            system = build_system(cls, self.spec, self.tokenizer)
            load_weights(system, self.path / WEIGHTS, self.weights_sha256)
        return system.eval()

    def _check_sizes(self, cls: type[System]) -> None:
        """Refuses sizes that would take hours or all memory, and that the weights cannot have."""
        stacks: list[tuple[str, StackSpec]] = [("encoder", self.spec.encoder)] if self.spec.encoder else []
        stacks += [("backbone", self.spec.backbone)] if cls.uses_transformer else []
        try:
            tensors, elements = count_weights(self.path)
        except SafetensorError as error:
            raise BenchError(f"{self.path / WEIGHTS}: damaged: {error}") from error
        for name, stack in stacks:
            if stack.layers > tensors or stack.width * max(stack.width, stack.positions) > elements:
                sizes = f"{stack.layers} layers, {stack.width} wide, of {stack.positions} positions"
                raise BenchError(
                    f"{self.path / MODEL}: {name} of {sizes}; the weights are {tensors} tensors of {elements} numbers."
                )


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


def check_run(run: StoredRun) -> None:
    """Checks every file in the folder of a recorded run that is there; those that are missing are named in a warning.

    The weights may be missing: no table needs them, and they take the most space.

    Raises:
        BenchError: a file is damaged, or the weights are not those whose scores the record holds.
    """
    folder, model = run.path.parent, run.record.model
    if missing := run.missing():
        logger.warning("%s: cannot verify %s: no such file", folder, ", ".join(missing))
    try:
        for name in run.record.files.keys() - missing:
            run.check(name)
        if model is not None and model.weights_sha256 is not None and (folder / WEIGHTS).is_file():
            digests = _verified(folder)[1]
            if (digests.get(WEIGHTS) or file_sha256(folder / WEIGHTS)) != model.weights_sha256:
                raise damaged(folder / WEIGHTS)
    except BenchError as error:
        raise BenchError(f"{error}. Delete its folder to run it anew; --reuse accepts it.") from error


def _verified(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Checks the files of a model folder.

    Returns:
        The content of ``model.json`` without its digests, and these by file; empty in a folder of an earlier version.

    Raises:
        BenchError: a file is missing or damaged.
    """
    if missing := [name for name in (MODEL, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]:
        raise BenchError(f"no model in {folder}: it lacks {', '.join(missing)}.")
    content = read_json(folder / MODEL)
    digests = content.pop(DIGESTS, None)
    if digests is None:
        return content, {}
    if not isinstance(digests, dict) or digests.pop(MODEL, None) != _digest(content, digests):
        raise damaged(folder / MODEL)
    for name in (TOKENIZER, ENCODER_TOKENIZER, WEIGHTS):
        if name in digests:
            check_sha256(folder / name, digests[name])
    return content, digests


def _digest(content: Mapping[str, Any], digests: Mapping[str, Any]) -> str | None:
    """Returns the digest of ``model.json`` with the digests of the other files; None if it can have none."""
    try:
        return digest([content, digests])
    except (ValueError, RecursionError):  # NaN, half a surrogate pair, or nested too deeply: none of it was written
        return None


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
    save_model(out, spec, own_tokenizer, system)
    return spec

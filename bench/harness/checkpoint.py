"""The state of an unfinished training run, in one file, and the state before it in another.

A checkpoint contains the SHA-256 of its content. A damaged one is set aside, and training goes on from the one before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.errors import BenchError, first_line
from bench.harness.code import check_code
from bench.harness.weights import set_weights, weights
from bench.identity import canonical_json
from bench.interface import System
from bench.records.store import CHECKPOINT, DAMAGED, PREVIOUS, checkpoints_in, has_checkpoint
from bench.storage import atomic_write

logger = logging.getLogger(__name__)

AUXILIARY = "auxiliary/"
"""Prefix of the parameters of auxiliary losses in a checkpoint; the name of a module cannot contain a slash."""


@dataclass
class Progress:
    """How far training is. With the weights and the state of the optimizer, it is the whole checkpoint.

    Attributes:
        step: optimizer steps so far.
        batch: finished batches of the current epoch.
        best: lowest validation ELBO of the last stage so far, in nats per text.
        best_epoch: epoch of ``best``, from 1; 0 before the first validation of the last stage.
        sums: sums of the raw terms over the current epoch.
        curve: one row per finished epoch.
        seconds: time of the training steps.
        tokens: predicted tokens so far.
        inner_loop: whether the inner loop of the stage is still active.
        inner_updates: updates of the inner loop in the current epoch.
        mutual_information: of the validation texts after the last epoch with an inner loop, in nats.
        last_terms: means of the terms over the texts of the last step whose terms were finite, in nats.
        diverged: which loss was not finite; empty if all were.
    """

    step: int = 0
    batch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    inner_loop: bool = False
    inner_updates: int = 0
    mutual_information: float = -math.inf
    last_terms: dict[str, float] = field(default_factory=dict)
    diverged: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint files of a run and the objects that they save and restore.

    Attributes:
        folder: of the files.
        system: the system in training.
        best: its weights after ``Progress.best_epoch``; empty before.
        networks: parameters of the auxiliary losses.
        parameters: all trained parameters by name, those of ``networks`` with the prefix ``AUXILIARY``.
        optimizer: of these parameters.
        code: digest of each module that trains; see `bench.harness.code`.
    """

    folder: Path
    system: System
    best: dict[str, Tensor]
    networks: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    code: Mapping[str, str]

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint and keeps the one before it; both need the space of two files while one is written.

        Raises:
            BenchError: it cannot be written; the earlier checkpoints are untouched.
        """
        states = self.optimizer.state
        tensors = {f"weights.{name}": tensor for name, tensor in weights(self.system).items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"{AUXILIARY}{name}": tensor for name, tensor in weights(self.networks).items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in states.get(parameter, {}).items()}
        metadata = {"progress": json.dumps(asdict(progress)), "code": json.dumps(dict(self.code))}
        metadata["sha256"] = content_sha256(tensors, metadata)
        newest = self.folder / CHECKPOINT
        atomic_write(newest, save(tensors, metadata), keep_old=self.folder / PREVIOUS)

    def load(self) -> Progress:
        """Restores what ``save`` wrote; without a whole file, nothing changes and the progress is that of a new run.

        Raises:
            BenchError: the newest whole file holds the weights of another system.
        """
        if (found := self._newest_whole()) is None:
            return Progress()
        path, tensors = found.path, found.tensors
        set_weights(self.system, _without_prefix("weights.", tensors), path)
        set_weights(self.networks, _without_prefix(AUXILIARY, tensors), path)
        self.best.update(_without_prefix("best.", tensors))
        for name, parameter in self.parameters.items():
            state = _without_prefix(f"optimizer.{name}.", tensors)
            on_cpu = parameter.device.type == "cpu"
            self.optimizer.state[parameter] = {
                key: value if key == "step" and on_cpu else value.to(parameter.device) for key, value in state.items()
            }
        return found.progress

    def check_code(self) -> None:
        """Checks that the checkpoint that ``load`` would restore, if there is one, was written by the present code.

        Raises:
            BenchError: it was written by other code.
        """
        if (found := self._newest_whole()) is not None:
            check_code(f"{found.path}: written", found.code, self.code)

    def exists(self) -> bool:
        """Returns whether there is a checkpoint that was not found damaged."""
        return has_checkpoint(self.folder)

    def delete(self) -> None:
        """Deletes all checkpoints, damaged ones included."""
        delete_checkpoints(self.folder)

    def _newest_whole(self) -> _Content | None:
        """Returns the newest checkpoint that is not damaged; sets damaged ones aside."""
        for path in (self.folder / CHECKPOINT, self.folder / PREVIOUS):
            if not path.is_file():
                continue
            try:
                return _Content.read(path)
            except BenchError as error:
                aside = path.replace(path.with_name(f"{path.name}{DAMAGED}"))
                goes_on = "the checkpoint before it, or else from the start"
                logger.warning("%s; it is set aside as %s; training goes on from %s", error, aside.name, goes_on)
        return None


def delete_checkpoints(folder: Path) -> None:
    """Deletes all checkpoints in the folder of a run, damaged ones included."""
    for path in checkpoints_in(folder):
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Content:
    """What a checkpoint file holds."""

    path: Path
    progress: Progress
    code: dict[str, str]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> _Content:
        """Reads a checkpoint.

        Raises:
            BenchError: its content is not what was written.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise BenchError(f"{path}: damaged ({first_line(error)})") from error
        if metadata.pop("sha256", None) != content_sha256(tensors, metadata):
            raise BenchError(f"{path}: damaged (its content has another SHA-256 than was written)")
        try:
            progress = _PROGRESS.validate_python(json.loads(metadata["progress"]))
            return cls(path, progress, _CODE.validate_python(json.loads(metadata["code"])), tensors)
        except (KeyError, ValueError, RecursionError) as error:
            raise BenchError(f"{path}: damaged (its progress or its code cannot be read)") from error


_PROGRESS, _CODE = TypeAdapter(Progress), TypeAdapter(dict[str, str])


def content_sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Returns the SHA-256 of metadata and of names, types, shapes and values of tensors, in hex.

    A safetensors file has no checksum of its own. This one does not depend on the layout of the file, so it can be part
    of the metadata.
    """
    names = sorted(tensors)
    types = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    found = hashlib.sha256(canonical_json([dict(metadata), types]).encode())
    for name in names:
        found.update(tensors[name].cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

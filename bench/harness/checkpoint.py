"""The state of an unfinished training run, in one file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.harness.code import check_code
from bench.harness.weights import weights
from bench.interface import System
from bench.storage import atomic_write

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
    """A checkpoint file and the objects that it saves and restores.

    Attributes:
        path: the file.
        system: the system in training.
        networks: parameters of the auxiliary losses.
        parameters: all trained parameters by name, those of ``networks`` with the prefix ``AUXILIARY``.
        optimizer: of these parameters.
        code: digest of each module that trains; see `bench.harness.code`.
    """

    path: Path
    system: System
    networks: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    code: Mapping[str, str]

    def save(self, progress: Progress) -> None:
        """Writes the file.

        Raises:
            BenchError: it cannot be written; the earlier checkpoint is untouched.
        """
        states = self.optimizer.state
        tensors = {f"weights.{name}": tensor for name, tensor in weights(self.system).items()}
        tensors |= {f"{AUXILIARY}{name}": tensor for name, tensor in weights(self.networks).items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in states.get(parameter, {}).items()}
        metadata = {"progress": json.dumps(asdict(progress)), "code": json.dumps(dict(self.code))}
        atomic_write(self.path, save(tensors, metadata))

    def load(self) -> Progress:
        """Restores what ``save`` wrote; without a file, nothing changes and the progress is that of a new run."""
        if not self.path.is_file():
            return Progress()
        with safe_open(self.path, "pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        self.system.load_state_dict(_without_prefix("weights.", tensors), strict=False)
        self.networks.load_state_dict(_without_prefix(AUXILIARY, tensors))
        for name, parameter in self.parameters.items():
            state = _without_prefix(f"optimizer.{name}.", tensors)
            on_cpu = parameter.device.type == "cpu"
            self.optimizer.state[parameter] = {
                key: value if key == "step" and on_cpu else value.to(parameter.device) for key, value in state.items()
            }
        return progress

    def check_code(self) -> None:
        """Checks that the file, if there is one, was written by the present code.

        Raises:
            BenchError: it was written by other code.
        """
        if self.path.is_file():
            with safe_open(self.path, "pt") as file:
                check_code(f"{self.path}: written", json.loads(file.metadata().get("code", "{}")), self.code)

    def delete(self) -> None:
        """Deletes the file, if there is one."""
        self.path.unlink(missing_ok=True)


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

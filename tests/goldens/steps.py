"""What the steps of the harness make of a small system: weights, terms of texts, and generations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor, nn

from bench.batch import Batch
from bench.harness.components import STEPS
from bench.harness.generate import generate_texts
from bench.harness.scoring import score_texts
from bench.harness.train import Trainer
from bench.interface import LatentPath, System
from bench.objectives import AuxiliaryLoss, InnerLoop, Objective, Schedule, Stage, StageStep
from bench.seeds import named_seeds
from bench.specs import DecodingSpec, ScoringSpec, TrainingSpec
from tests.goldens.golden import DROPOUT, Golden, Kind
from tests.goldens.plain import in_double, plain_system, tokenized

TRAINING = {"epochs": 3, "batch_tokens": 40, "learning_rate": 0.01, "weight_decay": 0.1, "warmup": 0.4}


class Rising(Schedule):
    """A weight that names its step."""

    def beta(self, step: StageStep) -> float:
        return (1 + step.number) / (1 + step.total)


class Sizes(AuxiliaryLoss):
    """Samples that a drawn map makes small."""

    name = "sizes"
    weight: float = 0.3

    def network(self, system: System) -> nn.Module:
        return nn.Linear(system.groups[0], 1)

    def terms(self, network: nn.Module, system: System, batch: Batch, path: LatentPath) -> Tensor:
        return network(path.z[0]).square()[..., 0]


PLAIN = Objective(schedule=Rising())
STAGES = (
    Stage(Objective(inner_loop=InnerLoop(look=2, at_most=12), auxiliary=(Sizes(),)), range(2)),
    Stage(PLAIN, range(2, 3), reset="decoder"),
)
TRAININGS: Mapping[str, tuple[Sequence[Stage], bool, TrainingSpec]] = {
    "plain": ((Stage(PLAIN, range(3)),), False, TrainingSpec(**TRAINING)),
    "micro-batches": ((Stage(PLAIN, range(3)),), True, TrainingSpec(**TRAINING, micro_batch_tokens=20, clip_norm=0.1)),
    "stages": (STAGES, False, TrainingSpec(**TRAINING)),
}


def trained() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, (stages, conditional, spec) in TRAININGS.items():
        with in_double(), TemporaryDirectory() as folder:
            texts = {"train": tokenized(conditional, stop=10), "valid": tokenized(conditional, start=10)}
            system = plain_system(conditional)
            progress = Trainer(
                system, texts, stages, spec, named_seeds(0), Path(folder), lambda phase, fraction: None
            ).run()
        for row in progress.curve:
            values[f"{name}, epoch {row['epoch']}"] = list(row.values())
        values[f"{name}, best"] = progress.best_epoch
        values[f"{name}, weights"] = [parameter.double().norm().item() for parameter in system.parameters()]
    return values


def scored() -> dict[str, Any]:
    scoring = ScoringSpec(n_importance_samples=40, batch_tokens=200)
    values: dict[str, Any] = {}
    for conditional in (False, True):
        with in_double():
            texts = tokenized(conditional, stop=8)
            # Batch norm and dropout tell training from evaluation mode.
            terms = score_texts(plain_system(conditional).train(), texts, scoring, "fp32", named_seeds(0)["latent"])
        for field in (each.name for each in fields(terms)):
            value = getattr(terms, field)
            if isinstance(value, np.ndarray):
                # The second sum depends on the order.
                value = [float(value.sum()), float(value.ravel() @ np.cos(np.arange(value.size)))]
            if field != "tokenizer" and value is not None:
                values[f"{'conditional' if conditional else 'unconditional'}, {field}"] = value
    return values


def generated() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for conditional in (False, True):
        for strategy in ("sample", "greedy"):
            decoding = DecodingSpec(strategy=strategy, max_tokens=8, samples_per_source=2)
            with in_double():
                system, texts = plain_system(conditional).train(), tokenized(conditional, stop=4)
                generations = generate_texts(system, 4, texts, decoding, named_seeds(0)["sampling"])
            values[f"{'conditional' if conditional else 'unconditional'}, {strategy}"] = generations
    return values


MEASURES: Mapping[str, Callable[[], dict[str, Any]]] = {"train": trained, "evaluate": scored, "generate": generated}


def measure(name: str) -> Golden:
    return Golden(STEPS[name], f"STEPS[{name!r}] in bench.harness.components", MEASURES[name]())


STEP = Kind("step", lambda: STEPS, measure, incomparable=DROPOUT)

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from bench.harness.plan import run_spec
from bench.harness.prepare import prepare
from bench.harness.train import Trainer
from bench.objectives import build_stages
from bench.scales import Scale
from bench.seeds import named_seeds
from bench.specs import RunSpec
from bench.systems import SYSTEMS

MICRO: dict[str, Any] = {
    "limits": {"train": 24, "valid": 8, "test": 12},
    "max_tokens": 100,
    "max_source_tokens": 60,
    "tokenizer": {"vocabulary_size": 280},
    "backbone": {"layers": 2, "width": 16, "heads": 2, "positions": 160, "dropout": 0.1},
    "training": {"epochs": 2, "batch_tokens": 256},
    "scoring": {"n_importance_samples": 4, "batch_tokens": 512, "bootstrap_samples": 20, "n_generations": 0},
    "decoding": {"max_tokens": 8},
}

ODD_SYSTEMS = {
    "oracle": "tests.harness.odd_systems:Oracle",
    "too-good": "tests.harness.odd_systems:TooGood",
    "nan-loss": "tests.harness.odd_systems:NaNLoss",
    "frozen": "tests.harness.odd_systems:Frozen",
    "nan-score": "tests.harness.odd_systems:NaNScore",
    "raising": "tests.harness.odd_systems:Raising",
    "greedy": "tests.harness.odd_systems:Greedy",
    "picky": "tests.harness.odd_systems:Picky",
}


@pytest.fixture(scope="session")
def micro() -> Callable[..., RunSpec]:
    """Makes the spec of a run that takes half a second; keywords change parts of the scale."""

    def make(label: str = "embed", task: str = "snli", seed: int = 0, **changes: Any) -> RunSpec:
        scale = Scale.model_validate({**MICRO, "tasks": {task: changes}})
        return run_spec(label, task, seed, "micro", scale.for_task(task), "grammar")

    return make


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Makes what trains the system of a run, its files in ``tmp_path`` or a folder in there."""

    def make(spec: RunSpec, folder: str = "") -> Trainer:
        prepared, seeds = prepare(spec), named_seeds(spec.seed)
        system, stages = prepared.system(seeds["init"]), build_stages(spec.objective, spec.training.epochs)
        return Trainer(
            system, prepared.texts, stages, spec.training, seeds, tmp_path / folder, lambda phase, fraction: None
        )

    return make


@pytest.fixture
def odd_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers systems that behave in telling ways, as if a package that offers them were installed."""

    def with_odd(group: str) -> list[EntryPoint]:
        odd = ODD_SYSTEMS if group == SYSTEMS.group else {}
        return [*entry_points(group=group), *(EntryPoint(name, value, group) for name, value in odd.items())]

    monkeypatch.setattr("bench.registry.entry_points", with_odd)


@pytest.fixture
def files_of() -> Callable[[Path], set[str]]:
    """Names the files in the only run's folder below a folder."""

    def names(out: Path) -> set[str]:
        (folder,) = out.iterdir()
        return {path.name for path in folder.iterdir()}

    return names

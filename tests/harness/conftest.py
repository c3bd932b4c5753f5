from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.harness.plan import Scale, run_spec
from bench.spec import RunSpec

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
    "oracle": "odd_systems:Oracle",
    "too-good": "odd_systems:TooGood",
    "nan-loss": "odd_systems:NaNLoss",
    "nan-score": "odd_systems:NaNScore",
    "raising": "odd_systems:Raising",
    "picky": "odd_systems:Picky",
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread_in_children() -> Iterator[None]:
    """Processes started by the tests have one thread, as the tests have."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def micro() -> Callable[..., RunSpec]:
    """Makes the spec of a run that takes half a second; keywords change parts of the scale."""

    def make(label: str = "embed", task: str = "snli", seed: int = 0, **changes: Any) -> RunSpec:
        scale = Scale.model_validate({**MICRO, "tasks": {task: changes}})
        return run_spec(label, task, seed, "micro", scale.for_task(task), "grammar")

    return make


@pytest.fixture
def odd_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers systems that behave in telling ways, as if a package that offers them were installed."""

    def with_odd(group: str) -> list[EntryPoint]:
        odd = ODD_SYSTEMS if group == registry.SYSTEMS.group else {}
        return [*entry_points(group=group), *(EntryPoint(name, value, group) for name, value in odd.items())]

    monkeypatch.setattr(registry, "entry_points", with_odd)


@pytest.fixture
def files_of() -> Callable[[Path], set[str]]:
    """Names the files in the only run's folder below a folder."""

    def names(out: Path) -> set[str]:
        (folder,) = out.iterdir()
        return {path.name for path in folder.iterdir()}

    return names

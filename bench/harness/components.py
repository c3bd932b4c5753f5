"""The components of a run: everything besides its spec and its texts that decides its result."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.harness.model_folder import ModelFolder
from bench.harness.weights import WEIGHTS
from bench.metric import Metric
from bench.metrics.model import model_metrics
from bench.metrics.text import text_metrics
from bench.objectives import Adaptation, part_types
from bench.reading import unreadable
from bench.specs import METRIC, RunSpec
from bench.storage import file_sha256
from bench.systems import SYSTEMS
from bench.tasks import TaskData
from bench.tokenizers import Tokenizer

STEPS = {"train": 4, "evaluate": 2, "generate": 2}
"""Versions of the steps of the harness, by their names in records.

A version rises whenever the same spec trains other weights, the same system gives other terms for the same texts, or
the same system and seed generate other texts.
"""


def components(spec: RunSpec, data: TaskData, tokenizer: Tokenizer, model: ModelFolder | None) -> dict[str, int | str]:
    """Returns the version or content digest of each component, by its name in records.

    Args:
        spec: of the run.
        data: the texts of the task.
        tokenizer: of the run.
        model: the trained model that is scored; None for a run that trains.

    Raises:
        BenchError: a file of weights cannot be read.
    """
    versions: dict[str, int | str] = {
        f"system {spec.system.name}": SYSTEMS.get(spec.system.name).version,
        f"task {data.task}": data.version,
        "tokenizer": tokenizer.digest[:12],
        **STEPS,
        **{f"{METRIC}{name}": version for name, version in metric_versions().items()},
        **{
            f"objective {name}": part.version
            for name, part in part_types(spec.objective).items()
            if model is None or issubclass(part, Adaptation)  # the others decide nothing but weights
        },
    }
    if tokenizer.encoder is not None:
        versions["encoder tokenizer"] = tokenizer.encoder.tokenizer.digest[:12]
    for section, stack in (("backbone", spec.backbone), ("encoder", spec.encoder)):
        if stack is not None and stack.path is not None:
            versions[section] = _digest_of(stack.path / WEIGHTS)[:12]
    if model is not None:
        del versions["train"]
        versions["weights"] = model.weights_sha256[:12]
    return versions


def _digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file, which a process reads once unless it changes; a grid has many runs with it."""
    try:
        state = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return _digest_of_state(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=64)
def _digest_of_state(path: Path, changed: int, size: int, number: int) -> str:
    return file_sha256(path)


def metric_versions() -> dict[str, int]:
    """Returns the version of each metric that can be computed here, by its name."""
    metrics: list[Metric[Any]] = [*model_metrics(), *text_metrics()[0]]
    return {metric.name: metric.version for metric in metrics}

"""The registry of tasks, and how a run gets the texts of one.

A task is one file with a constant of type ``Task`` and one entry in ``TASKS``; other packages add theirs through the
entry-point group ``della_bench.tasks``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from bench.errors import BenchError
from bench.registry import Registry
from bench.seeds import derive_seed
from bench.specs import BackboneKind, TaskSpec
from bench.tasks.data import SPLITS, Kind, LogP, Split, TaskData, checksum, repetitions
from bench.tasks.files import read_folder
from bench.tasks.grammar import Grammar


@dataclass(frozen=True)
class Task:
    """A task of the suite.

    Attributes:
        name: registered name.
        kind: ``conditional`` if every text has a source, else ``unconditional``.
        title: heading in tables, as in the papers.
        summary: the texts in one line.
        grammar: returns the embedded grammar, the same object at every call.
        sizes: number of texts that the grammar draws for each split without a limit.
        backbone: the stack of the task's systems: ``decoder-only`` or ``encoder-decoder``.
        version: version of the definition; rises whenever the grammar draws other texts.
    """

    name: str
    kind: Kind
    title: str
    summary: str
    grammar: Callable[[], Grammar]
    sizes: Mapping[Split, int] = field(default_factory=lambda: {"train": 4000, "valid": 500, "test": 500})
    backbone: BackboneKind = "decoder-only"
    version: int = 1


TASKS: Registry[Task] = Registry(
    "task",
    {
        name: f"bench.tasks.grammars.{name}:TASK"
        for name in ("yelp", "yahoo", "ptb", "snli", "writingprompts", "cnn_dailymail", "quora")
    },
    "della_bench.tasks",
)


def load_texts(spec: TaskSpec, data_folder: Path | None = None, seed: int = 0) -> TaskData:
    """Returns the texts of a task; a process reads or draws the same texts once, unless their files change.

    Args:
        spec: task, source and limits. Of files the first texts up to the limit are read; a grammar draws as many as the
            limit, and a larger corpus begins with the smaller one.
        data_folder: the folder of the task's files, or one that holds it under the task's name; unused with a grammar.
        seed: of a grammar's draws: each text has its own random stream, from seed, task, split and index.

    Raises:
        BenchError: the task is unknown, the folder is missing, or the data are bad.
    """
    return _load_texts(spec.model_dump_json(), data_folder, seed, _file_states(spec, data_folder))


def _file_states(spec: TaskSpec, data_folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Returns name, time of change and size of each file that the texts may come from."""
    if spec.source != "files" or data_folder is None:
        return ()
    files = [file for folder in (data_folder, data_folder / spec.name) for file in folder.glob("*") if file.is_file()]
    return tuple(sorted((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@lru_cache(maxsize=8)
def _load_texts(
    spec_json: str, data_folder: Path | None, seed: int, file_states: tuple[tuple[str, int, int], ...]
) -> TaskData:
    spec = TaskSpec.model_validate_json(spec_json)
    task = TASKS.get(spec.name)
    notes: tuple[str, ...] = ()
    factors: dict[Split, Mapping[str, tuple[str, ...]]] = {split: {} for split in SPLITS}
    log_p: LogP | None = None
    if spec.source == "files":
        if data_folder is None:
            raise BenchError(f"task {task.name!r}: needs real texts; name their folder with --data-dir (docs/data.md).")
        splits, notes = read_folder(data_folder, task.name, task.kind, spec.limits)
    else:
        grammar = task.grammar()
        splits, log_p = {}, grammar.log_p
        for split in SPLITS:
            count = spec.limits.get(split, task.sizes[split])
            streams = (random.Random(derive_seed(seed, task.name, split, index)) for index in range(count))
            splits[split], values = zip(*map(grammar.draw, streams), strict=True)
            factors[split] = dict(zip(grammar.factors.names, zip(*values, strict=True), strict=True))
    return TaskData(
        task=task.name,
        kind=task.kind,
        version=task.version,
        source=spec.source,
        sha256=checksum(splits),
        splits=splits,
        factors=factors,
        log_p=log_p,
        notes=(*notes, *repetitions(splits)),
    )

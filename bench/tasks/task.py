"""The registered tasks and the one way to their texts.

A task is one file with a constant of type ``Task`` and one entry of ``TASKS``; another package offers its own through
the entry-point group ``della_bench.tasks``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, unknown_name
from bench.registry import Registry
from bench.seeds import derive_seed
from bench.specs import BackboneKind, DataSource, TaskSpec
from bench.tasks.data import SPLITS, Example, Kind, LogP, Split, TaskData, checksum, repetitions
from bench.tasks.files import read_folder
from bench.tasks.grammar import Grammar

__all__ = [
    "Example",
    "Kind",
    "Split",
    "Task",
    "TaskData",
    "get_task",
    "load_task",
    "load_texts",
    "task_names",
]


@dataclass(frozen=True)
class Task:
    """A task of the suite.

    Attributes:
        name: registered name.
        kind: whether its texts are conditioned on others.
        version: version of the definition; rises whenever the grammar draws other texts.
        title: heading in tables, as in the papers.
        summary: one line that says what the texts are.
        grammar: builds the embedded grammar.
        sizes: number of texts the grammar draws for each split unless limits say otherwise.
        backbone: the stack its systems stand on: ``decoder-only`` or ``encoder-decoder``.
    """

    name: str
    kind: Kind
    version: int
    title: str
    summary: str
    grammar: Callable[[], Grammar]
    sizes: Mapping[Split, int] = field(default_factory=lambda: {"train": 4000, "valid": 500, "test": 500})
    backbone: BackboneKind = "decoder-only"


TASKS = Registry[Task](
    kind="task",
    builtin={
        name: f"bench.tasks.grammars.{name}:TASK"
        for name in ("yelp", "yahoo", "ptb", "snli", "writingprompts", "cnn_dailymail", "quora")
    },
    group="della_bench.tasks",
)


def get_task(name: str) -> Task:
    """Returns a registered task.

    Raises:
        BenchError: the name is not registered; the message offers the nearest one.
    """
    return TASKS.get(name)


def task_names() -> tuple[str, ...]:
    """Returns the names of all registered tasks, sorted."""
    return TASKS.names()


def load_task(
    name: str,
    *,
    source: DataSource = "grammar",
    folder: Path | None = None,
    limits: Mapping[Split, int] | None = None,
    seed: int = 0,
) -> TaskData:
    """Returns the texts of a task.

    Args:
        name: registered name.
        source: ``grammar`` draws them from the embedded grammar, ``files`` reads them from ``folder``.
        folder: for ``files`` only: the folder of the task's files, or one that holds it under the task's name.
        limits: number of texts by split. For ``files`` the first so many are kept and later lines not read; for
            ``grammar`` so many are drawn, and more begin with the fewer.
        seed: for ``grammar`` only: each text has a stream of its own, derived from seed, task, split and index.

    Raises:
        BenchError: an unknown task, source or split, a limit below one, a folder missing or given in vain, or bad data.
    """
    task = get_task(name)
    limits = dict(limits or {})
    for split, limit in limits.items():
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if limit < 1:
            raise BenchError(f"task {name!r}: the limit of {split} must be at least 1, not {limit}.")
    if source not in _LOADERS:
        raise unknown_name("source of texts", source, _LOADERS)
    return _LOADERS[source](task, folder, limits, seed)


def load_texts(spec: TaskSpec, data_folder: Path | None) -> TaskData:
    """Returns the texts of a run.

    Args:
        spec: the task as the run has it.
        data_folder: holds the task's folder; read only where the spec's source is ``files``.

    Raises:
        BenchError: as ``load_task``.
    """
    folder = data_folder if spec.source == "files" else None
    return load_task(spec.name, source=spec.source, folder=folder, limits=spec.limits)


def _from_grammar(task: Task, folder: Path | None, limits: Mapping[Split, int], seed: int) -> TaskData:
    if folder is not None:
        raise BenchError(f"task {task.name!r}: a folder ({folder}) goes with source 'files', not with 'grammar'.")
    grammar = task.grammar()
    splits: dict[Split, tuple[Example, ...]] = {}
    factors: dict[Split, Mapping[str, tuple[str, ...]]] = {}
    for split in SPLITS:
        streams = (derive_seed(seed, task.name, split, i) for i in range(limits.get(split, task.sizes[split])))
        splits[split], labels = zip(*(grammar.draw(random.Random(stream)) for stream in streams), strict=True)
        factors[split] = dict(zip(grammar.factors.names, zip(*labels, strict=True), strict=True))
    return _data(task, "grammar", splits, factors, grammar.log_p, ())


def _from_files(task: Task, folder: Path | None, limits: Mapping[Split, int], seed: int) -> TaskData:
    if folder is None:
        raise BenchError(f"task {task.name!r}: source 'files' needs a folder.")
    splits, notes = read_folder(folder, task.name, task.kind, limits)
    return _data(task, "files", splits, {split: {} for split in SPLITS}, None, notes)


def _data(
    task: Task,
    source: DataSource,
    splits: Mapping[Split, tuple[Example, ...]],
    factors: Mapping[Split, Mapping[str, tuple[str, ...]]],
    log_p: LogP | None,
    notes: tuple[str, ...],
) -> TaskData:
    return TaskData(
        task=task.name,
        kind=task.kind,
        version=task.version,
        source=source,
        sha256=checksum(splits),
        splits=splits,
        factors=factors,
        log_p=log_p,
        notes=(*notes, *repetitions(splits)),
    )


_LOADERS: Mapping[str, Callable[[Task, Path | None, Mapping[Split, int], int], TaskData]] = {
    "grammar": _from_grammar,
    "files": _from_files,
}

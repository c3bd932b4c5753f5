"""The learning rates of a suite that says how to choose them: a few runs per row, the lowest validation ELBO wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from bench.errors import BenchError
from bench.labels import parse_label
from bench.records.doubts import training_end
from bench.records.store import StoredRun
from bench.specs import RunSpec, SweepSpec
from bench.tasks import TASKS

LEARNING_RATE: Final = "learning_rate"


def plan_sweep(
    sweep: SweepSpec | None, specs: Sequence[RunSpec], planned: Callable[..., list[RunSpec]]
) -> list[RunSpec]:
    """Returns the specs of the runs that try learning rates for ``specs``; none without a sweep.

    Args:
        sweep: of the suite.
        specs: with the learning rate of the scale.
        planned: ``plan`` with all but ``systems``, ``tasks`` and ``seeds``.

    Raises:
        BenchError: an unknown task; no task of the sweep is of the kind of a task of ``specs``; or a label names a
            learning rate.
    """
    if sweep is None:
        return []
    rows = dict.fromkeys(spec.system.label for spec in specs)
    for row in rows:
        if is_trial(row):
            raise BenchError(f"{row}: the sweep of the suite chooses the learning rate; leave it out of the label.")
    labels = [_label(row, rate) for row in rows for rate in sweep.learning_rates]
    tasks = dict.fromkeys(_task_of_sweep(sweep, spec.task.name) for spec in specs)
    return planned(systems=labels, tasks=[*tasks], seeds=[sweep.seed])


def tuned(specs: Iterable[RunSpec], sweep: SweepSpec, tried: Iterable[StoredRun]) -> list[RunSpec]:
    """Returns the specs with the learning rates that gave the lowest validation ELBO.

    If no run of the sweep finished for a row, the row gets the lowest learning rate, and the records of its runs tell
    why they do not finish. Other rows are not affected.

    Args:
        specs: with the learning rate of the scale.
        sweep: how it is chosen.
        tried: the runs of ``plan_sweep``; one that did not finish is never chosen.
    """
    runs = {(run.record.label, run.record.task): run for run in tried if run.record.status == "finished"}
    return [_tuned(spec, sweep, runs) for spec in specs]


def _tuned(spec: RunSpec, sweep: SweepSpec, runs: Mapping[tuple[str, str], StoredRun]) -> RunSpec:
    task = _task_of_sweep(sweep, spec.task.name)
    elbos = dict(_elbos(sweep, spec.system.label, task, runs))
    rate = min(elbos, key=lambda rate: elbos[rate]) if elbos else min(sweep.learning_rates)
    training = spec.training and spec.training.model_copy(update={"learning_rate": rate})
    return spec.model_copy(update={"training": training, "sweep": sweep})


def _elbos(
    sweep: SweepSpec, row: str, task: str, runs: Mapping[tuple[str, str], StoredRun]
) -> Iterator[tuple[float, float]]:
    """Yields the learning rates that were tried for a row, each with the lowest validation ELBO, in nats per text."""
    for rate in sweep.learning_rates:
        run = runs.get((_label(row, rate), task))
        if run is not None and (end := training_end(run)) is not None:
            yield rate, float((run.curve() or ())[end.best_epoch - 1]["valid ELBO"])


def is_trial(label: str) -> bool:
    """Returns whether a label names its learning rate, as those of a sweep do."""
    return any(change.partition("=")[0].strip() == LEARNING_RATE for change in parse_label(label)[2].split(","))


def _label(row: str, rate: float) -> str:
    """Returns the label of the run that tries a learning rate for a row."""
    return f"{row}{',' if '@' in row else '@'}{LEARNING_RATE}={rate!r}"


def _task_of_sweep(sweep: SweepSpec, task: str) -> str:
    """Returns the task on which the learning rates for ``task`` are tried.

    Raises:
        BenchError: an unknown task, or no task of the sweep is of the kind of ``task``.
    """
    kind = TASKS.get(task).kind
    for candidate in sweep.tasks:
        if TASKS.get(candidate).kind == kind:
            return candidate
    raise BenchError(f"the sweep tries no learning rate for {task}: sweep.tasks names no {kind} task.")

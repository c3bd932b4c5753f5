"""The learning rates of a suite that says how to choose them: a few runs per row, the lowest validation ELBO wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bench.errors import BenchError
from bench.records.doubts import training_end
from bench.records.store import StoredRun
from bench.specs import RunSpec, SweepSpec
from bench.tasks import TASKS


def plan_sweep(
    sweep: SweepSpec | None, specs: Sequence[RunSpec], planned: Callable[..., list[RunSpec]]
) -> list[RunSpec]:
    """Returns the specs of the runs that try learning rates for ``specs``; none without a sweep.

    Args:
        sweep: of the suite.
        specs: with the learning rate of the scale.
        planned: ``plan`` with all but ``systems``, ``tasks`` and ``seeds``.

    Raises:
        BenchError: an unknown task, or no task of the sweep is of the kind of a task of ``specs``.
    """
    if sweep is None:
        return []
    rows = dict.fromkeys(spec.system.label for spec in specs)
    labels = [_label(row, rate) for row in rows for rate in sweep.learning_rates]
    tasks = dict.fromkeys(_task_of_sweep(sweep, spec.task.name) for spec in specs)
    return planned(systems=labels, tasks=[*tasks], seeds=[sweep.seed])


def tuned(specs: Iterable[RunSpec], sweep: SweepSpec, tried: Iterable[StoredRun]) -> list[RunSpec]:
    """Returns the specs with the learning rates that gave the lowest validation ELBO.

    Args:
        specs: with the learning rate of the scale.
        sweep: how it is chosen.
        tried: the runs of ``plan_sweep``; one that did not finish is never chosen.

    Raises:
        BenchError: no run of a row finished.
    """
    runs = {(run.record.label, run.record.task): run for run in tried if run.record.status == "finished"}
    return [_tuned(spec, sweep, runs) for spec in specs]


def _tuned(spec: RunSpec, sweep: SweepSpec, runs: Mapping[tuple[str, str], StoredRun]) -> RunSpec:
    task = _task_of_sweep(sweep, spec.task.name)
    elbos = dict(_elbos(sweep, spec.system.label, task, runs))
    if not elbos or spec.training is None:
        raise BenchError(
            f"{spec.system.label}: no run of the sweep on {task} finished; no learning rate can be chosen."
        )
    rate = min(elbos, key=lambda rate: elbos[rate])
    return spec.model_copy(
        update={"training": spec.training.model_copy(update={"learning_rate": rate}), "sweep": sweep}
    )


def _elbos(
    sweep: SweepSpec, row: str, task: str, runs: Mapping[tuple[str, str], StoredRun]
) -> Iterator[tuple[float, float]]:
    """Yields the learning rates that were tried for a row, each with the lowest validation ELBO, in nats per text."""
    for rate in sweep.learning_rates:
        run = runs.get((_label(row, rate), task))
        if run is not None and (end := training_end(run)) is not None:
            yield rate, float((run.curve() or ())[end.best_epoch - 1]["valid ELBO"])


def _label(row: str, rate: float) -> str:
    """Returns the label of the run that tries a learning rate for a row."""
    return f"{row}{',' if '@' in row else '@'}learning_rate={rate!r}"


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

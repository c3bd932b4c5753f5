"""Records from elsewhere: what keeps them from being compared with ours, and their way into our folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.audit import audit, rows_of_runs
from bench.errors import BenchError
from bench.harness.plan import plan
from bench.harness.sweep import is_trial, plan_sweep, tuned
from bench.records.differences import describe, differences
from bench.records.store import GENERATIONS, RECORD, StoredRun
from bench.report import build_table
from bench.specs import DataSource, RunSpec
from bench.storage import atomic_write
from bench.suites import Suite


def problems(runs: Sequence[StoredRun], ours: Sequence[StoredRun], suite: Suite, scale_name: str) -> list[str]:
    """Returns a line for each reason why records cannot stand beside ours; none if they can.

    Args:
        runs: the records.
        ours: those that are there.
        suite: that they are runs of.
        scale_name: name or file of the scale.
    """
    if damaged := [line for run in runs for line in _damage(run)]:
        return damaged
    lines = [line for run in runs for line in _of_run(run, runs, suite, scale_name)]
    lines += _incomplete(runs, suite, scale_name)
    lines += [
        f"audit: {finding.location}: {finding.figures}: {finding.reason}"
        for finding in audit(rows_of_runs(runs))
        if finding.severity == "impossible"
    ]
    records = [run.record for run in (*ours, *runs)]
    try:
        build_table(records, suite.layout and suite.layout.model_copy(update={"others": True}))
    except BenchError as error:
        lines.append(f"table with our records: {error}")
    return lines


def _damage(run: StoredRun) -> Iterator[str]:
    for name in run.record.files:
        try:
            run.check(name)
        except BenchError as error:
            yield str(error)


def _of_run(run: StoredRun, runs: Sequence[StoredRun], suite: Suite, scale_name: str) -> Iterator[str]:
    record, title = run.record, run.path.parent.name
    if record.status == "failed":
        yield f"{title}: failed ({record.reason}); run it again with --retry failed"
    if record.commit is None or record.dirty:
        yield f"{title}: made by code without a commit, or with changes that are in none"
    if record.data.source == "files" and any(row.keys() != {"text"} for row in run.generations(1)):
        yield f"{title}: {GENERATIONS} holds more than the generations of the model; keep only their text"
    try:
        planned = _plan_like(run, suite, scale_name)(systems=[record.label], tasks=[record.task], seeds=[record.seed])
    except BenchError as error:
        yield f"{title}: {error}"
        return
    if suite.sweep is not None and not is_trial(record.label):
        planned = tuned(planned, suite.sweep, runs)
    spec = planned[0].model_dump(mode="json")
    if different := differences(record, record.model_copy(update={"spec": spec})):
        yield f"{title}: not a run of {suite.name} at {scale_name}: {describe(different)}"


def _plan_like(run: StoredRun, suite: Suite, scale_name: str) -> Callable[..., list[RunSpec]]:
    """Returns ``plan`` with all but ``systems``, ``tasks`` and ``seeds``, for texts from where those of a run are."""
    source: DataSource = "files" if run.record.data.source == "files" else "grammar"
    return partial(plan, suite, scale_name, source=source)


def _incomplete(runs: Sequence[StoredRun], suite: Suite, scale_name: str) -> Iterator[str]:
    """Yields which seeds and which runs of the sweep are missing."""
    there = {(run.record.label, run.record.task, run.record.seed): run for run in runs}
    rows = {(label, task): run for (label, task, _), run in there.items() if suite.sweep is None or not is_trial(label)}
    for (label, task), run in rows.items():
        if missing := [seed for seed in suite.seeds if (label, task, seed) not in there]:
            yield f"{label} on {task}: no run of seed {', '.join(map(str, missing))}"
        if suite.sweep is None:
            continue
        planned = _plan_like(run, suite, scale_name)
        row = planned(systems=[label], tasks=[task], seeds=suite.seeds[:1])
        for trial in plan_sweep(suite.sweep, row, planned):
            if (trial.system.label, trial.task.name, trial.seed) not in there:
                yield f"{label} on {task}: no run of its sweep: {trial.title}"


def copy_runs(runs: Sequence[StoredRun], folder: Path) -> int:
    """Copies runs into a folder, their records last; returns how many were not there.

    Raises:
        BenchError: a file cannot be read or written.
    """
    new = 0
    for run in runs:
        target = folder / run.path.parent.name
        if (target / RECORD).exists():
            continue
        try:
            contents = {name: run.path.with_name(name).read_bytes() for name in (*run.record.files, RECORD)}
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BenchError(f"{error.filename}: {error.strerror}") from error
        for name, content in contents.items():
            atomic_write(target / name, content)
        new += 1
    return new

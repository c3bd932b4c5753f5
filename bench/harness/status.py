"""The state of every run of a folder: recorded, running, or planned by a grid. Imports no torch.

A grid writes its plan into the folder when it starts, and removes it when all of its runs are recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from bench.errors import BenchError
from bench.harness.lock import Owner, locks
from bench.identity import digest
from bench.reading import parse_as, read_json
from bench.records.schema import Status
from bench.records.store import FAILURE, RECORD, StoredRun, has_checkpoint, load_runs
from bench.storage import atomic_write

State = Literal["running", "waiting", "damaged", Status]


def _name(folder: str) -> str:
    if "/" in folder or not 0 < len(os.fsencode(folder)) < LONGEST_NAME:
        raise ValueError("expected the name of a folder.")
    return folder


LONGEST_NAME = 256
"""Bytes that no file system allows for a name."""


class PlannedRun(BaseModel):
    """A run that a grid will do.

    Attributes:
        task: name of the task.
        label: label of the system.
        scale: name of the scale.
        seed: seed of the run.
        folder: its folder, without its parents; None if the run could not be identified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    label: str
    scale: str | None
    seed: int
    folder: Annotated[str, AfterValidator(_name)] | None = None


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: tuple[PlannedRun, ...]


def write_plan(runs: Sequence[PlannedRun], out: Path) -> None:
    """Writes the plan of a grid into the folder of its records; equal grids share the file.

    Raises:
        BenchError: it cannot be written.
    """
    plan = _Plan(runs=tuple(runs))
    path = out / f".plan.{digest(plan.model_dump(mode='json'))[:12]}.json"
    atomic_write(path, plan.model_dump_json(indent=2).encode() + b"\n")


def remove_done_plans(out: Path) -> None:
    """Removes the plans of a folder whose runs are all recorded."""
    for path, plan in _plans(out):
        if all(run.folder is not None and (out / run.folder / RECORD).exists() for run in plan.runs):
            path.unlink(missing_ok=True)


def _plans(out: Path) -> Iterator[tuple[Path, _Plan]]:
    """Yields the plans in a folder and their files.

    Raises:
        BenchError: a plan is damaged.
    """
    for path in sorted(out.glob(".plan.*.json")):
        try:
            content = read_json(path)
        except BenchError:
            if path.exists():  # else its grid has ended meanwhile
                raise
            continue
        yield path, parse_as(_Plan, content, str(path))


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        run: which run it is; None if its record is damaged and the name of its folder does not tell.
        state: ``running``, ``waiting``, ``damaged`` if its record cannot be read, or the status of its record.
        note: why a run is not finished, what is wrong with its record, or that it resumes from its checkpoint.
        owner: of a running run, the process that works on it and how far it is.
    """

    run: PlannedRun | None
    state: State
    note: str = ""
    owner: Owner | None = None

    @property
    def title(self) -> str:
        """Name of the run in lists, empty if it is not known."""
        return f"{self.run.task} {self.run.label} seed {self.run.seed}" if self.run else ""

    def as_dict(self) -> dict[str, Any]:
        """Returns all that is known as JSON."""
        owner = self.owner and self.owner.model_dump(mode="json", exclude={"token", "machine", "run", "started"})
        run = self.run.model_dump(mode="json") if self.run else {}
        return {**run, "state": self.state, "note": self.note, "owner": owner}

    def __str__(self) -> str:
        if self.owner is None:
            return f"{self.state:<9} {': '.join(filter(None, (self.title, self.note)))}"
        minutes = max(0.0, time.time() - self.owner.since) / 60
        progress = f"{self.owner.phase} {self.owner.fraction:.0%}, " if self.owner.phase else ""
        return f"{self.state:<9} {self.title}: {progress}{self.owner}, for {minutes:.0f} min"


def states(out: Path) -> list[RunState]:
    """Returns the state of every run in a folder: first those that run or wait, in the order of their plans.

    Raises:
        BenchError: there is no such folder, or a plan or a lock cannot be read.
    """
    if not out.is_dir():
        raise BenchError(f"{out}: no such folder of records.")
    # Locks first: a run that ends meanwhile is then running and recorded, and none is lost.
    owners = {found.owner.run: found.owner for found in locks(out) if found.owner and not found.is_stale()}
    planned = [run for _, plan in _plans(out) for run in plan.runs]
    result: dict[str, RunState] = {}
    for path in sorted(out.glob(f"*/{RECORD}")):
        try:
            result.update((path.parent.name, _recorded(stored)) for stored in load_runs([path]))
        except BenchError as error:
            if path.exists():  # else its run is done again
                result[path.parent.name] = RunState(_run_of_folder(path.parent.name), "damaged", str(error))
    active: dict[str, RunState] = {}
    for run in planned:
        name = run.folder or repr(run)
        if name not in result:
            resumes = run.folder is not None and has_checkpoint(out / run.folder)
            active[name] = RunState(run, "waiting", "resumes from its checkpoint" if resumes else "")
    for name, owner in owners.items():
        known = active.get(name) or result.get(name)
        if (run_of_lock := (known and known.run) or _run_of_folder(name)) is not None:
            result.pop(name, None)
            active[name] = RunState(run_of_lock, "running", owner=owner)
    order = {"running": 0, "waiting": 1, "damaged": 2, "failed": 3, "diverged": 4}
    return sorted([*active.values(), *result.values()], key=lambda state: order.get(state.state, len(order)))


def _recorded(stored: StoredRun) -> RunState:
    """Returns the state of a run with a record."""
    record, folder = stored.record, stored.path.parent
    note = record.reason or ""
    if record.status == "failed" and (folder / FAILURE).exists():
        note += f" (traceback in {folder / FAILURE})"
    run = PlannedRun(task=record.task, label=record.label, scale=record.scale, seed=record.seed, folder=folder.name)
    return RunState(run, record.status, note)


def _run_of_folder(name: str) -> PlannedRun | None:
    """Returns the run that the name of its folder tells, None for another name."""
    with suppress(ValueError):
        first, _, rest = name.partition(".")
        label, seed, _ = rest.rsplit(".", 2)
        return PlannedRun(task=first, label=label, scale=None, seed=int(seed.removeprefix("s")), folder=name)
    return None

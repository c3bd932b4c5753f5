"""A grid as one Slurm array job: each task trains and scores one run into the shared folder. Imports no torch."""

from __future__ import annotations

import io
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from bench.errors import BenchError
from bench.harness.stopping import Stopped, heeding_signals
from bench.labels import split_list
from bench.reading import parse_as
from bench.specs import RunSpec, Spec

if TYPE_CHECKING:
    from bench.harness.grid import Outcome
    from bench.records.schema import Record

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
FOLDER = "slurm"
"""Folder beside the runs that keeps what each array job was given and what it printed."""
SECONDS_BETWEEN_LOOKS = 5.0
WARNING = signal.SIGUSR1
"""Signal that Slurm sends to a task before its time limit. Submitit has its own, SIGUSR2, whose handler queues the task
again at once, in the middle of a training step, and a limited number of times."""

logger = logging.getLogger(__name__)


def minutes(limit: object) -> int:
    """Returns a time limit in minutes, rounded up.

    Args:
        limit: in a form of Slurm's: ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, or ``days-hours`` with
            ``:minutes`` and ``:seconds`` or without.
    """
    match = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", str(limit), re.ASCII)
    if match is None:
        raise ValueError(f"not a time limit: {limit!r}; write minutes, hours:minutes:seconds or days-hours.")
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    # A number alone is minutes, but hours behind days; two are minutes and seconds, but hours and minutes behind days.
    if days is None and len(parts) < 3:
        parts.insert(0, 0)
    hours, whole, seconds = [*parts, 0, 0][:3]
    total = 24 * 60 * int(days or 0) + 60 * hours + whole + math.ceil(seconds / 60)
    if total == 0:
        raise ValueError("a time limit of 0 would be none.")
    return total


class SlurmOptions(Spec):
    """What is asked of Slurm for each run; without a value, the default of the cluster.

    Attributes:
        partition: where the tasks run.
        time: limit of one task in minutes. A task that reaches it saves a checkpoint and is queued again.
        cpus: cores of a task, and threads of its run: more of them change the last digits of a result.
        gpus: ``number`` or ``type:number``, for example ``a100:1``.
        mem: memory, for example ``16G``.
        account: that is charged.
        qos: quality of service.
        constraint: features of the nodes.
        exclude: nodes that are not used.
    """

    partition: str | None = None
    time: Annotated[int | None, BeforeValidator(minutes)] = Field(None, validate_default=False)
    cpus: int = Field(1, ge=1)
    gpus: str | None = Field(None, pattern=r"^([A-Za-z][\w.-]*:)?\d+$")
    mem: str | None = Field(None, pattern=r"^\d+[KMGT]?$")
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None

    @classmethod
    def parse(cls, text: str) -> SlurmOptions:
        """Reads ``key=value,key=value``.

        Raises:
            BenchError: an unknown key, one without a value or given twice, or a value that Slurm does not know.
        """
        options: dict[str, str] = {}
        for part in split_list(text):
            key, _, value = (piece.strip() for piece in part.partition("="))
            if not (key and value):
                raise BenchError(f"--slurm: {part!r} is not key=value, for example partition=gpu,gpus=1,time=8:00:00.")
            if key in options:
                raise BenchError(f"--slurm: {key!r} is given twice.")
            options[key] = value
        return parse_as(cls, options, "--slurm")

    def warning(self) -> int:
        """Returns how many seconds before the end of the time limit a task is told to save and stop."""
        return min(120, 15 * self.time) if self.time else 120

    def for_submitit(self) -> dict[str, Any]:
        """Returns the options as submitit names them."""
        return {
            **self.model_dump(include={"partition", "time", "mem", "account", "qos", "constraint", "exclude"}),
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus,
            # Since Slurm 22.05, srun does not pass on the number of cores that the job has.
            "srun_args": [f"--cpus-per-task={self.cpus}"],
            "wckey": None,
        }


@dataclass(frozen=True)
class Task:
    """What one task of the array does. It is pickled, with everything that it needs.

    Attributes:
        spec: of the run.
        out: folder of the records.
        data_folder: parent of the folders of real texts.
        reuse: whether a record or checkpoint of other code is used; see ``run``.
        threads: of the run.
    """

    spec: RunSpec
    out: Path
    data_folder: Path | None
    reuse: bool | None
    threads: int

    def __call__(self) -> None:
        """Trains, scores and records the run, and ends the process with exit code 1 if it fails.

        A task that Slurm warns of its time limit is queued again, and then continues from its checkpoint; if it did
        nothing but score until then, it fails, because it would do the same again.
        """
        import torch

        from bench.harness.grid import run_grid
        from bench.harness.phases import PHASES

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        torch.set_num_threads(self.threads)
        done: list[float] = []
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit ignores it
        try:
            with heeding_signals():
                (outcome,) = run_grid(
                    [self.spec],
                    self.out,
                    self.data_folder,
                    on_progress=lambda _, fraction: done.append(fraction),
                    reuse=self.reuse,
                )
        except Stopped as stopped:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm ends a task that is queued again
            logger.warning("%s: stopped by %s", self.spec.title, stopped.signal.name)
            trained = bool(done) and done[0] <= PHASES["train"][1]
            if stopped.signal == WARNING and trained:
                subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)  # noqa: S603, S607
            elif stopped.signal == WARNING:
                logger.error("%s: scoring alone reached the time limit; give each task more time", self.spec.title)
            sys.exit(stopped.exit_code)
        if outcome.error is not None:
            sys.exit(1)


@dataclass(frozen=True)
class SlurmGrid:
    """A grid of which an array job makes the runs that are not recorded.

    Attributes:
        specs: all runs of the grid.
        run_ids: of these runs.
        out: folder of the records.
        recorded: number of a run to the record that it had before.
        job: of the array; None if nothing was left to do.
        logs: number of each other run to the file of its messages, in the order of the array.
    """

    specs: Sequence[RunSpec]
    run_ids: Sequence[str]
    out: Path
    recorded: Mapping[int, Record]
    job: str | None
    logs: Mapping[int, Path]

    def instructions(self) -> str:
        """Returns the number of the job and how to look at it."""
        if self.job is None:
            return f"All {len(self.specs)} runs are recorded; no job was submitted."
        n_recorded = len(self.specs) - len(self.logs)
        recorded = f"; the other {n_recorded} are recorded" if n_recorded else ""
        return (
            f"Job {self.job} makes {len(self.logs)} runs{recorded}.\n"
            f"  squeue --job {self.job}   lists the tasks that wait or run; scancel {self.job} ends them\n"
            f"  della-bench table {self.out}   prints what is recorded\n"
            f"  {_any_log(self.job, self.logs)}   hold the messages of the tasks\n"
            "After the end of the job, the same command submits the runs that are not recorded."
        )

    def wait(self, on_end: Callable[[int, Outcome], None]) -> list[Outcome]:
        """Waits until the array has ended; returns the outcomes of all runs of the grid, in their order."""
        from bench.harness.grid import Outcome
        from bench.records.store import RecordStore

        store = RecordStore(self.out)
        outcomes: dict[int, Outcome] = {}

        def end(number: int, record: Record | None) -> None:
            spec, log = self.specs[number], self.logs.get(number)
            error = (
                f"task {self.job}_{list(self.logs).index(number)} ended without a record" if record is None else None
            )
            outcome = Outcome(spec, error=error) if record is None else Outcome.of(spec, record)
            outcomes[number] = replace(outcome, log=log)
            on_end(number, outcomes[number])

        for number, record in self.recorded.items():
            end(number, record)
        while self.job and len(outcomes) < len(self.specs):
            queued = _queued_tasks(self.job)
            for index, number in enumerate(self.logs):
                if number not in outcomes and index not in queued:
                    stored = store.find(self.run_ids[number])
                    end(number, stored.record if stored else None)
            if queued:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        return [outcomes[number] for number in range(len(self.specs))]


def check_slurm() -> None:
    """Checks that jobs can be submitted from here.

    Raises:
        BenchError: says what has to be installed.
    """
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        raise BenchError(
            f"--launcher slurm needs {', '.join(missing)} on the PATH: call it on a machine of the cluster that has"
            " Slurm's commands (Debian and Ubuntu: apt install slurm-client)."
        )
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise BenchError("--launcher slurm needs the package submitit: pip install 'della-bench[slurm]'") from None


def submit_grid(
    specs: Sequence[RunSpec],
    out: Path,
    data_folder: Path | None,
    options: SlurmOptions,
    at_once: int = 0,
    reuse: bool | None = None,
) -> SlurmGrid:
    """Submits one array job with a task for each run that has no record.

    Args:
        specs: all runs.
        out: folder of the records, on a file system that the nodes share.
        data_folder: parent of the folders of real texts, likewise.
        options: of the job.
        at_once: largest number of tasks that run at the same time; 0 for no limit.
        reuse: see ``run``, but not False: a task that is queued again needs its checkpoint.

    Raises:
        BenchError: Slurm refuses the job, or a record is one of other code.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    from bench.harness.recording import Recording
    from bench.harness.reuse import complete

    out, data_folder = out.resolve(), data_folder and data_folder.resolve()
    run_ids, found = [], {}
    for number, spec in enumerate(specs):
        recording = Recording.begin(spec, out, data_folder)
        run_ids.append(recording.identities.run)
        found[number] = complete(recording, bool(reuse))
    recorded = {number: record for number, record in found.items() if record is not None}
    left = [number for number, record in found.items() if record is None]
    tasks = [Task(specs[number], out, data_folder, reuse, options.cpus) for number in left]
    if not tasks:
        return SlurmGrid(specs, run_ids, out, recorded, None, {})
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=out / FOLDER))
    executor = SlurmExecutor(folder)
    executor.update_parameters(
        **options.for_submitit(),
        job_name=out.name,
        array_parallelism=at_once or len(tasks),
        additional_parameters={
            "requeue": True,  # after the death of a node, and after preemption
            "signal": f"{WARNING.name.removeprefix('SIG')}@{options.warning()}",
        },
    )
    try:
        with redirect_stderr(io.StringIO()):  # submitit prints there what it raises
            jobs = executor.submit_array(tasks)
    except FailedJobError as error:
        shutil.rmtree(folder)
        raise BenchError(f"--launcher slurm: {str(error).strip().splitlines()[-1]}") from None
    job = str(jobs[0].job_id).partition("_")[0]
    logs = {number: job.paths.stderr for number, job in zip(left, jobs, strict=True)}
    return SlurmGrid(specs, run_ids, out, recorded, job, logs)


def _any_log(job: str, logs: Mapping[int, Path]) -> str:
    """Returns a pattern that matches the logs of all tasks."""
    return str(next(iter(logs.values())).with_name(f"{job}_*.err"))


def _queued_tasks(job: str) -> set[int]:
    """Returns the indices of the tasks of an array that wait or run; a controller that is away is waited for."""
    while True:
        done = subprocess.run(  # noqa: S603
            ["squeue", "--noheader", "--array", "--jobs", job, "--format", "%i"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 or "Invalid job id" in done.stderr:
            return {int(name.partition("_")[2] or 0) for name in done.stdout.split()}
        time.sleep(SECONDS_BETWEEN_LOOKS)

"""Grids whose processes are killed at random moments, compared with the same grid undisturbed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.harness.lock import locks
from bench.records.store import load_runs
from bench.storage import is_temporary
from tests.cli.cli_process import Started, start_forked

SUITE = {"title": "Four runs", "systems": ["lm", "embed+cyclical", "della", "memory"], "tasks": ["snli"]}
SCALE = {
    "limits": {"train": 60, "valid": 12, "test": 24},
    "max_tokens": 60,
    "tokenizer": {"vocabulary_size": 280},
    "backbone": {"layers": 2, "width": 16, "heads": 2, "positions": 80, "dropout": 0.1},
    "training": {"epochs": 4, "batch_tokens": 128, "checkpoint_seconds": 0.0},
    "scoring": {"n_importance_samples": 8, "batch_tokens": 256, "bootstrap_samples": 50, "n_generations": 12},
    "decoding": {"max_tokens": 20},
}
OF_THE_COMMAND = ("grid.log", "plan.json", "table-mine.md", "table-mine.csv")
"""Files that belong to no run."""

PATIENCE = 600.0
"""Seconds that a grid may take."""

GRACE = 10.0
"""Seconds in which the processes of a killed command must end."""


MOMENTS = ("prepare", "train", "score", "generate", "write")
"""What a grid does when it is killed: the phases of runs, and what stands before and between them."""


@dataclass
class Report:
    """What a series of kills did.

    Attributes:
        kills: number of kills by victim and moment.
        grids: number of grids.
        whole: grids that ended with the files of the undisturbed one, bit by bit.
        problems: what was lost, different or left over, one line each.
    """

    kills: Counter[str] = field(default_factory=Counter)
    grids: int = 0
    whole: int = 0
    problems: list[str] = field(default_factory=list)

    def lines(self, seed: int) -> Iterator[str]:
        """Yields what happened, for a page."""
        yield (
            f"{self.kills.total()} kills (SIGKILL, seed {seed}) of {self.grids} grids of four runs:"
            f" {self.whole} grids whole and equal to the undisturbed ones in every byte"
        )
        for victim, count in sorted(self.kills.items()):
            yield f"{count} of the {victim}"


@dataclass(frozen=True)
class Grid:
    """A grid in a folder of its own.

    Attributes:
        folder: has the suite, the scale and, in ``out``, the records.
        jobs: parallel runs.
    """

    folder: Path
    jobs: int

    @classmethod
    def create(cls, folder: Path, jobs: int) -> Grid:
        """Creates the folder with the two files."""
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text(yaml.safe_dump(SUITE))
        (folder / "micro.yaml").write_text(yaml.safe_dump(SCALE))
        (folder / "logs").mkdir()
        return cls(folder, jobs)

    @property
    def out(self) -> Path:
        """The folder of the records."""
        return self.folder / "out"

    def start(self) -> Started:
        """Starts the command, which resumes what is there and repeats what failed."""
        arguments = ["run", "mine.yaml", "--scale", "micro.yaml", "--jobs", str(self.jobs), "--out", "out"]
        return start_forked([*arguments, "--retry", "failed"], self.folder, self.folder / "logs")

    def complete(self) -> float:
        """Runs the command to its end and returns its seconds.

        Raises:
            RuntimeError: it fails.
        """
        begin = time.monotonic()
        finished = self.start().finish()
        if finished.code != 0:
            raise RuntimeError(f"exit code {finished.code}: {finished.err}")
        return time.monotonic() - begin

    def files(self) -> dict[str, object]:
        """Returns the content of every file by its path, of records what a repetition must not change."""
        records = {run.path: run.record.measurement() for run in load_runs([self.out])}
        paths = [path for path in sorted(self.out.rglob("*")) if path.is_file() and path.name not in OF_THE_COMMAND]
        return {str(path.relative_to(self.out)): records.get(path) or path.read_bytes() for path in paths}

    def processes(self) -> list[int]:
        """Returns the processes that work in the folder."""
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if self._works_here(entry)]

    def _works_here(self, process: Path) -> bool:
        try:
            return (process / "cwd").readlink() == self.folder
        except OSError:  # it ended, or is another user's
            return False

    def moments(self) -> set[str]:
        """Returns what the grid does just now: it writes a file, or runs are in phases of which they tell."""
        phases = {found.owner.phase for found in locks(self.out) if found.owner}
        writes = any(is_temporary(path.name) for path in self.out.rglob(".*.tmp"))
        return {"write"} if writes else (phases - {""}) or {"prepare"}


def kill_grids(folder: Path, kills: int, seed: int) -> Report:
    """Kills the command or one of its workers until there were ``kills`` kills, one to three in each grid."""
    report, rng = Report(), random.Random(seed)
    undisturbed: dict[int, dict[str, object]] = {}
    seconds: dict[int, float] = {}
    for jobs in (1, 2):
        grid = Grid.create(folder / f"undisturbed-{jobs}", jobs)
        seconds[jobs] = grid.complete()
        undisturbed[jobs] = grid.files()
    while report.kills.total() < kills:
        number = report.grids = report.grids + 1
        jobs = 1 + number % 2
        grid = Grid.create(folder / f"grid-{number}", jobs)
        for _ in range(rng.randint(1, 3)):
            _disturb(grid, rng, seconds[jobs], report)
        try:
            grid.complete()
        except RuntimeError as error:
            report.problems.append(f"grid {number}: {error}")
            continue
        wrong = list(differences(undisturbed[jobs], grid.files()))
        report.whole += not wrong
        report.problems += [f"grid {number}: {difference}" for difference in wrong]
    return report


def _disturb(grid: Grid, rng: random.Random, seconds: float, report: Report) -> None:
    """Starts the command; kills it or one of its workers at the first moment of a random kind after a random time."""
    started, moment = grid.start(), rng.choice(MOMENTS)
    started.process.join(rng.uniform(0.0, 0.7 * seconds))
    while started.process.is_alive() and moment not in grid.moments():
        time.sleep(0.002)
    workers = [process for process in grid.processes() if process != started.process.pid]
    victim = rng.choice(workers) if workers and rng.random() < 0.5 else started.process.pid
    if not started.process.is_alive() or victim is None:
        return  # the moment did not come before its end
    report.kills[f"{'command' if victim == started.process.pid else 'worker'} in phase {moment}"] += 1
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    started.process.join(PATIENCE)
    if started.process.is_alive():
        report.problems.append(f"the command hangs after a kill of process {victim}")
        started.process.kill()
    end = time.monotonic() + GRACE
    while (orphans := grid.processes()) and time.monotonic() < end:
        time.sleep(0.1)
    for orphan in orphans:
        report.problems.append(f"process {orphan} outlives the command")
        os.kill(orphan, signal.SIGKILL)


def differences(expected: dict[str, object], found: dict[str, object]) -> Iterator[str]:
    """Yields what distinguishes the files of a grid from those of the undisturbed one."""
    for name in expected.keys() - found.keys():
        yield f"{name} is lost"
    for name in found.keys() - expected.keys():
        yield f"{name} is left over"
    for name in expected.keys() & found.keys():
        if expected[name] != found[name]:
            yield f"{name} is different"

"""Grids on a Slurm of two nodes whose tasks are killed at random moments, compared with a local one."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.faults.kills import MOMENTS, SUITE, Grid, Report, differences
from tests.slurm.cluster import Cluster
from tests.slurm.grids import has_ended, submit, wait_until, write_grid

ROUNDS = 5
"""Commands after which a grid must be whole."""


def kill_tasks(folder: Path, kills: int, seed: int) -> Report:
    """Kills the processes of tasks until there were ``kills`` kills, one to three in each grid."""
    report, rng = Report(), random.Random(seed)
    local = Grid.create(folder / "undisturbed", jobs=1)
    seconds = local.complete()
    expected = local.files()
    (folder / "cluster").mkdir()
    with Cluster(folder / "cluster") as cluster:
        while report.kills.total() < kills:
            report.grids += 1
            grid = Grid.create(folder / f"grid-{report.grids}", jobs=1)
            write_grid(grid.folder, SUITE)
            _make(grid, cluster, rng, seconds, report)
            found = {name: content for name, content in grid.files().items() if not name.startswith("slurm/")}
            wrong = list(differences(expected, found))
            report.whole += not wrong
            report.problems += [f"grid {report.grids}: {difference}" for difference in wrong]
    report.problems += [f"process {process.name} outlives the cluster" for process in cluster.processes()]
    return report


def _make(grid: Grid, cluster: Cluster, rng: random.Random, seconds: float, report: Report) -> None:
    """Submits a grid until all of its runs are recorded; kills tasks of the first job."""
    left = rng.randint(1, 3)
    for _ in range(ROUNDS):
        job = submit(grid.folder, "--scale", "micro.yaml", "--out", "out", cluster=cluster)
        for _ in range(left):
            _kill(grid, cluster, job, rng, seconds, report)
        left = 0
        wait_until(lambda job=job: has_ended(cluster, job))
        if len(list(grid.out.glob("*/record.json"))) == len(SUITE["systems"]):
            return
    report.problems.append(f"grid {report.grids}: not whole after {ROUNDS} commands")


def _kill(grid: Grid, cluster: Cluster, job: str, rng: random.Random, seconds: float, report: Report) -> None:
    """Kills the process of a task at the first moment of a random kind after a random time."""
    moment, earliest = rng.choice(MOMENTS), time.monotonic() + rng.uniform(0.0, 0.7 * seconds)
    while time.monotonic() < earliest or not (tasks := _tasks(cluster)) or moment not in grid.moments():
        if has_ended(cluster, job):
            return  # the moment did not come before its end
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.kill(rng.choice(tasks), signal.SIGKILL)
        report.kills[f"task in phase {moment}"] += 1


def _tasks(cluster: Cluster) -> list[int]:
    """Returns the processes that make runs."""
    commands = {int(process.name): _command(process) for process in cluster.processes()}
    return sorted(
        number
        for number, command in commands.items()
        if Path(command[0]).name.startswith("python") and "submitit.core._submit" in command
    )


def _command(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text().split("\0")
    except OSError:  # it has just ended
        return [""]

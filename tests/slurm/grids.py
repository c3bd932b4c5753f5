"""Grids for the tests of the Slurm launcher: how they are started, and what they leave."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.records.store import load_runs
from tests.cli.cli_process import SCRIPT
from tests.slurm.cluster import Cluster

EIGHT: dict[str, Any] = {"systems": ["lm", "embed"], "tasks": ["snli", "quora"], "seeds": [0, 1]}
"""A suite of eight runs that take about as long as each other at the smoke scale."""

PATIENCE = 600.0
"""Seconds after which a test gives up."""


def write_grid(folder: Path, suite: Mapping[str, Any], scale: Mapping[str, Any] | None = None) -> None:
    """Writes ``suite.yaml``, and ``scale.yaml`` if there is a scale."""
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(yaml.safe_dump({"title": "Test", **suite}))
    if scale:
        (folder / "scale.yaml").write_text(yaml.safe_dump(dict(scale)))


def start(folder: Path, *arguments: str, cluster: Cluster | None = None) -> subprocess.Popen[str]:
    """Starts ``della-bench run suite.yaml`` in the folder, with the cluster's commands if there is one."""
    launcher = ["--launcher", "slurm"] if cluster else []
    environment = {**os.environ, **(cluster.environment if cluster else {})}
    command = [SCRIPT, "run", "suite.yaml", *launcher, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)  # noqa: S603


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Waits for a command that must succeed; returns its output and its messages."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out, err


def submit(folder: Path, *arguments: str, cluster: Cluster) -> str:
    """Submits the grid and returns the number of its job."""
    _, err = finish(start(folder, *arguments, cluster=cluster))
    found = re.search(r"^Job (\d+) makes ", err, flags=re.MULTILINE)
    assert found, err
    return found[1]


def wait_until(condition: Callable[[], object]) -> None:
    """Waits for something that must happen."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


def has_ended(cluster: Cluster, job: str) -> bool:
    """Says whether no task of the job waits or runs."""
    return not cluster.ask("squeue", "--noheader", "--jobs", job)


def results(out: Path) -> dict[str, object]:
    """Returns all that a run leaves and that may not depend on where it took place, by its folder's name."""
    stored = {run.path.parent.name: run for run in load_runs([out])}
    return {
        name: [
            run.record.status,
            run.record.environment,
            run.record.measurement(),
            run.record.model,
            {file.name: file.read_bytes() for file in run.path.parent.iterdir() if file.name != "record.json"},
        ]
        for name, run in stored.items()
    }

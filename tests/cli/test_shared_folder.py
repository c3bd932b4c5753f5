"""Several commands on one folder of records: they share the work, whatever happens to one of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.records.store import load_runs
from tests.cli.cli_process import Finished, Started, start_forked

PATIENCE = 300.0
"""Seconds after which a test gives up."""


@pytest.fixture
def start(_own_cache: None, workplace: Path, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts commands in the workplace, and leaves none behind."""
    started: list[Started] = []

    def start(*arguments: str) -> Started:
        logs = tmp_path / f"logs {len(started)}"
        logs.mkdir()
        started.append(start_forked(arguments, workplace, logs))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.join()


def run_into(out: str) -> tuple[str, ...]:
    return ("run", "mine.yaml", "--scale", "micro.yaml", "--seeds", "0,1", "--jobs", "1", "--out", out)


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def measurements(out: Path) -> dict[str, object]:
    return {run.record.run_id: run.record.measurement() for run in load_runs([out])}


def trainings(out: Path) -> list[tuple[str, str]]:
    """Returns which run was trained from where, as often as it was, from the log that all commands write."""
    return re.findall(r"INFO (.* seed \d): trains from (.*)", (out / "grid.log").read_text())


def leftovers(out: Path) -> list[str]:
    return [str(path) for pattern in (".*", "*/.*", "*/checkpoint*") for path in out.glob(pattern)]


def test_four_commands_train_each_run_once(start: Callable[..., Started], workplace: Path) -> None:
    undisturbed = start(*run_into("undisturbed")).finish()
    assert undisturbed.code == 0, undisturbed.err
    together = [start(*run_into("shared")) for _ in range(4)]
    finished = [each.finish() for each in together]
    assert [each.code for each in finished] == [0] * 4, finished[0].err
    assert {each.out.replace("shared/", "undisturbed/") for each in finished} == {undisturbed.out}
    titles = [title for title, _ in trainings(workplace / "shared")]
    assert sorted(titles) == [f"snli {label} seed {seed}" for label in ("embed", "lm") for seed in (0, 1)]
    assert measurements(workplace / "shared") == measurements(workplace / "undisturbed")
    assert leftovers(workplace / "shared") == []


@pytest.fixture
def long_run(workplace: Path) -> None:
    """Makes the workplace one of a single run that takes seconds."""
    scale = yaml.safe_load((workplace / "micro.yaml").read_text())
    scale["training"] |= {"epochs": 60}
    (workplace / "micro.yaml").write_text(yaml.safe_dump(scale))
    (workplace / "mine.yaml").write_text(yaml.safe_dump({"systems": ["embed"], "tasks": ["snli"]}))


def test_the_run_of_a_killed_command_is_taken_over_by_one_that_waits(
    start: Callable[..., Started], workplace: Path, long_run: None
) -> None:
    command = (*run_into("out")[:-4], "--out", "out", "--seeds", "0")
    out = workplace / "out"

    def states() -> dict[str, Any]:
        listed = start("status", "out", "--json").finish()
        assert listed.code == 0, listed.err
        return {f"{run['task']} {run['label']}": run for run in json.loads(listed.out)["runs"]}

    owner = start(*command)
    wait_until(lambda: list(out.glob("*/checkpoint.safetensors")) or not owner.process.is_alive())
    run = states()["snli embed"]
    assert (run["state"], run["owner"]["process"]) == ("running", owner.process.pid)
    waiting = start(*command)
    wait_until(lambda: "waits for them" in (waiting.logs / "err").read_text())
    assert f"those of process {owner.process.pid} on " in (waiting.logs / "err").read_text()
    owner.process.kill()
    done: Finished = waiting.finish()
    assert done.code == 0, done.err
    title = "snli embed seed 0"
    assert trainings(out) == [(title, "the start"), (title, "its checkpoint")]
    assert start(*command[:-4], "--out", "alone", "--seeds", "0").finish().code == 0
    assert measurements(out) == measurements(workplace / "alone")
    assert leftovers(out) == []
    assert states()["snli embed"]["state"] == "finished"


def test_a_run_that_was_killed_waits_until_the_command_is_given_again(
    start: Callable[..., Started], workplace: Path, long_run: None
) -> None:
    owner = start(*run_into("out"))
    wait_until(lambda: list((workplace / "out").glob("*/checkpoint.safetensors")) or not owner.process.is_alive())
    owner.process.kill()
    owner.process.join()
    listed = start("status", "out").finish()
    assert listed.out.splitlines() == [
        "waiting   snli embed seed 0: resumes from its checkpoint",
        "waiting   snli embed seed 1",
        "2 waiting",
    ]


def test_a_grid_that_only_diverged_is_no_success(start: Callable[..., Started], workplace: Path) -> None:
    scale = yaml.safe_load((workplace / "micro.yaml").read_text())
    scale["training"] |= {"learning_rate": 1e30, "clip_norm": None, "warmup": 0.0}
    (workplace / "micro.yaml").write_text(yaml.safe_dump(scale))
    for _ in range(2):  # trained, then recorded
        done = start(*run_into("out")).finish()
        assert done.code == 1
        assert "diverged: the loss was not finite at step " in done.out
    assert len(trainings(workplace / "out")) == 4
    assert start(*run_into("out"), "--retry", "diverged").finish().code == 1
    assert len(trainings(workplace / "out")) == 8
    listed = start("status", "out").finish()
    assert "diverged  snli lm seed 0: the loss was not finite at step " in listed.out
    assert listed.out.endswith("\n4 diverged\n")


def test_only_what_did_not_succeed_can_be_tried_again(start: Callable[..., Started]) -> None:
    done = start(*run_into("out"), "--retry", "faild").finish()
    assert (done.code, done.err) == (
        2,
        "della-bench: unknown status to --retry 'faild'. Did you mean 'failed'? Allowed: diverged, failed.\n",
    )


def test_the_state_of_no_folder_is_a_mistake(start: Callable[..., Started]) -> None:
    done = start("status", "nowhere").finish()
    assert (done.code, done.err) == (2, "della-bench: nowhere: no such folder of records.\n")

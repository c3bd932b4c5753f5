"""A run that is interrupted, or killed, and started again ends bit-identical to one that nothing disturbed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from bench.harness import train, validation
from bench.harness.run import run
from bench.harness.stopping import Stopped, heeding_signals
from bench.harness.validation import Validation
from bench.records.schema import Record
from bench.records.store import CHECKPOINT, CURVE, GENERATIONS, load_runs
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]

# About 150 steps, most of several passes, and most epochs longer than the steps between two looks, with everything
# random that there is.
LONG: dict[str, Any] = {
    "limits": {"train": 80},
    "backbone": {"dropout": 0.2},
    "training": {
        "epochs": 3,
        "batch_tokens": 100,
        "micro_batch_tokens": 50,
        "learning_rate": 3e-3,
        "activation_checkpointing": True,
        "checkpoint_seconds": 0.0,
    },
    "scoring": {"n_generations": 3},
}
WEIGHTS = "model.safetensors"


def assert_same_run(first: Path, second: Path) -> None:
    """Compares everything that two folders of one run hold, except what the machine decides."""
    (one,), (other,) = load_runs([first]), load_runs([second])
    assert one.record.measurement() == other.record.measurement()
    assert {file.name for file in one.path.parent.iterdir()} == {file.name for file in other.path.parent.iterdir()}
    for name in (WEIGHTS, CURVE, GENERATIONS, "tokenizer.json", "model.json"):
        assert one.path.with_name(name).read_bytes() == other.path.with_name(name).read_bytes(), name
    statistics = one.statistics(), other.statistics()
    assert statistics[0].keys() == statistics[1].keys()
    for name, rows in statistics[0].items():
        np.testing.assert_array_equal(rows, statistics[1][name])


@pytest.fixture
def start() -> Callable[[RunSpec, Path], multiprocessing.process.BaseProcess]:
    """Starts a run in a process of its own, forked from one that has imported torch and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.harness.run", "della.model"])

    def start(spec: RunSpec, out: Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=run, args=(spec, out))
        process.start()
        return process

    return start


def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_been(
    micro: MakeSpec,
    start: Callable[[RunSpec, Path], multiprocessing.process.BaseProcess],
    tmp_path: Path,
) -> None:
    spec = micro("della", **LONG)
    undisturbed = run(spec, tmp_path / "undisturbed")
    steps = undisturbed.training["steps"]
    assert isinstance(steps, int)
    assert steps > 100

    out = tmp_path / "killed"
    moment = random.Random(0)
    progress: list[float] = []
    for _ in range(4):
        before = checkpoint_time(out)
        process = start(spec, out)
        while process.is_alive() and checkpoint_time(out) == before:
            time.sleep(0.002)
        process.join(moment.uniform(0.0, 0.3))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        progress.append(checkpoint_time(out))
    assert len(progress) >= 2
    assert progress == sorted(set(progress))  # each began where the one before was killed

    run(spec, out)
    assert_same_run(out, tmp_path / "undisturbed")


def run_heeding_signals(spec: RunSpec, out: Path, fractions: Connection) -> None:
    """Runs as the command does, and tells how far training is."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process of a shell ignores it
    try:
        with heeding_signals():
            run(spec, out, on_phase=lambda phase, fraction: fractions.send((phase, fraction)))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_what_was_trained_and_the_run_goes_on_from_there(
    micro: MakeSpec, tmp_path: Path, number: signal.Signals
) -> None:
    """In one long epoch, where nothing else writes a checkpoint."""
    training = {**LONG["training"], "epochs": 1, "batch_tokens": 30, "micro_batch_tokens": None}
    spec = micro("della", **{**LONG, "training": {**training, "checkpoint_seconds": 1e6}})
    undisturbed = run(spec, tmp_path / "undisturbed")
    out = tmp_path / "stopped"
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.harness.run", "della.model"])
    process = context.Process(target=run_heeding_signals, args=(spec, out, theirs))
    process.start()
    phase, fraction = ours.recv()
    assert (phase, 0 < fraction < 0.5) == ("train", True)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number
    (folder,) = out.iterdir()
    with safe_open(folder / CHECKPOINT, "pt") as file:
        saved = json.loads(file.metadata()["progress"])
    assert 0 < saved["step"] < int(undisturbed.training["steps"] or 0)
    assert {path.name for path in folder.iterdir()} == {CHECKPOINT}
    run(spec, out)
    assert_same_run(out, tmp_path / "undisturbed")


def test_a_request_to_stop_is_heeded_between_any_two_steps_and_batches_of_validation(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the sums of the curve do not depend on it."""
    spec = micro("embed+li-2019", training={"epochs": 2, "checkpoint_seconds": 1e6, "batch_tokens": 128})
    run(spec, tmp_path / "undisturbed")
    chance, stops = random.Random(0), 0

    def requested() -> bool:
        return chance.random() < 0.4

    def stop_if_requested() -> None:
        if requested():
            raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(train, "requested", requested)
    monkeypatch.setattr(validation, "stop_if_requested", stop_if_requested)
    while not list(tmp_path.glob("stopped/*/record.json")):
        try:
            run(spec, tmp_path / "stopped")
        except Stopped:
            stops += 1
    assert stops > 2
    assert_same_run(tmp_path / "stopped", tmp_path / "undisturbed")


def checkpoint_time(out: Path) -> float:
    """Returns when the only checkpoint below a folder was written, 0 where there is none."""
    return max((path.stat().st_mtime for path in out.glob(f"*/{CHECKPOINT}")), default=0.0)


@pytest.mark.parametrize(
    "label", ["lm", "softmax", "optimus", "della-2022", "embed+li-2019", "della+constant+then+bow+batch-norm"]
)
def test_a_run_interrupted_again_and_again_ends_as_if_nothing_had_been(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """An interrupt at every fourth look: in mid-epoch, between epochs, and while scoring."""
    monkeypatch.setattr(train, "STEPS_BETWEEN_SUMS", 2)
    spec = micro(label, training={"epochs": 2, "checkpoint_seconds": 0.0}, backbone={"dropout": 0.2})
    run(spec, tmp_path / "undisturbed")

    looks = 0

    def interrupt(phase: str, fraction: float) -> None:
        nonlocal looks
        looks += 1
        if looks % 4 == 0:
            raise KeyboardInterrupt

    record: Record | None = None
    interrupts = 0
    while record is None:
        try:
            record = run(spec, tmp_path / "interrupted", on_phase=interrupt)
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts >= 2
    assert_same_run(tmp_path / "interrupted", tmp_path / "undisturbed")


def test_an_interrupt_while_validating_loses_no_epoch(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last step of an epoch and its end, the last epoch's included, whose weights are the best here."""
    spec = micro("lm", training={"epochs": 3, "checkpoint_seconds": 0.0})
    undisturbed = run(spec, tmp_path / "undisturbed")
    assert undisturbed.training["best_epoch"] == 3

    validate, calls = Validation.rec_and_kl, 0

    def interrupt_every_other_time(validation: Validation) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise KeyboardInterrupt
        return validate(validation)

    monkeypatch.setattr(Validation, "rec_and_kl", interrupt_every_other_time)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(spec, tmp_path / "interrupted")
    run(spec, tmp_path / "interrupted")
    assert_same_run(tmp_path / "interrupted", tmp_path / "undisturbed")


def test_a_checkpoint_less_often_changes_nothing(micro: MakeSpec, tmp_path: Path) -> None:
    often, never = (micro("embed", training={"checkpoint_seconds": seconds}) for seconds in (0.0, 1e6))
    first, second = run(often, tmp_path / "often"), run(never, tmp_path / "never")
    assert first.run_id == second.run_id
    assert first.model is not None
    assert first.model == second.model
    assert first.metrics == second.metrics

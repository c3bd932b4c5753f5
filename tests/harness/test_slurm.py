"""The Slurm launcher without a Slurm: what it is told, what it submits, and what a task does when it is stopped."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.harness.grid import run_grid
from bench.harness.prepare import prepare
from bench.harness.slurm import SlurmOptions, Task, check_slurm, minutes, submit_grid
from bench.records.schema import Record
from bench.records.store import RecordStore
from bench.specs import RunSpec
from bench.systems import SYSTEMS

MakeSpec = Callable[..., RunSpec]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [  # the forms of sbatch's manual page
        ("90", 90),
        ("10:00", 10),
        ("10:01", 11),
        ("0:30", 1),
        ("2:00:00", 120),
        ("2:30:01", 151),
        ("1-0", 1440),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-12:30:01", 2191),
    ],
)
def test_time_limits_are_minutes_rounded_up(limit: str, expected: int) -> None:
    assert minutes(limit) == expected


@pytest.mark.parametrize("limit", ["", "x", "1:2:3:4", "-5", "1-", "1:0:x", "0", "0:0", "٣", "9" * 20, "1.5"])
def test_what_is_no_time_limit_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match="time limit"):
        minutes(limit)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_days_and_hours_count_as_their_minutes(days: int, hours: int, whole: int, seconds: int) -> None:
    exact = days * 1440 + hours * 60 + whole + seconds / 60
    if exact:
        assert 0 <= minutes(f"{days}-{hours:02}:{whole:02}:{seconds:02}") - exact < 1
        assert minutes(f"{days * 24 + hours}:{whole}:{seconds}") == minutes(f"{days}-{hours}:{whole}:{seconds}")


def test_options_are_key_and_value() -> None:
    options = SlurmOptions.parse("partition=gpu, gpus=a100:1,time=8:00:00,cpus=4,mem=16G")
    assert options == SlurmOptions(partition="gpu", gpus="a100:1", time=480, cpus=4, mem="16G")
    assert SlurmOptions.parse("") == SlurmOptions()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "partion=gpu",
            "--slurm: unknown key 'partion'. Did you mean 'partition'? Allowed: account, constraint, cpus,",
        ),
        ("gpus", "--slurm: 'gpus' is not key=value, for example partition=gpu,gpus=1,time=8:00:00."),
        ("gpus=", "--slurm: 'gpus=' is not key=value"),
        ("cpus=1,cpus=2", "--slurm: 'cpus' is given twice."),
        ("cpus=0", "--slurm: cpus: Input should be greater than or equal to 1 (got '0')."),
        ("gpus=many", "--slurm: gpus: String should match pattern"),
        ("mem=lots", "--slurm: mem: String should match pattern"),
        ("time=soon", "--slurm: time: not a time limit: 'soon'; write minutes, hours:minutes:seconds or days-hours."),
    ],
)
def test_wrong_options_are_one_line(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)) as caught:
        SlurmOptions.parse(text)
    assert "\n" not in str(caught.value)


def test_a_task_is_warned_early_enough_to_save_and_late_enough_to_train() -> None:
    assert [SlurmOptions(time=limit).warning() for limit in (480, 8, 4, 1)] == [120, 120, 60, 15]
    assert SlurmOptions().warning() == 120


def test_what_has_to_be_installed_is_named(monkeypatch: pytest.MonkeyPatch, commands: Path) -> None:
    check_slurm()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "submitit", None)
        with pytest.raises(BenchError, match=r"needs the package submitit: pip install 'della-bench\[slurm\]'"):
            check_slurm()
    (commands / "squeue").unlink()
    monkeypatch.setenv("PATH", str(commands))
    with pytest.raises(BenchError, match="--launcher slurm needs squeue on the PATH"):
        check_slurm()


SBATCH = """#!/bin/sh
cp "$1" {folder}/script.sh
echo Submitted batch job 7
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands, which only note how they are called."""
    folder = tmp_path / "commands"
    folder.mkdir()
    note = f'#!/bin/sh\necho "$0 $*" >> {folder}/calls\n'
    for name, text in {"srun": note, "squeue": note, "scontrol": note, "sbatch": SBATCH.format(folder=folder)}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def directives(script: Path) -> dict[str, str]:
    """Returns the #SBATCH lines of a script."""
    lines = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines}


def test_a_job_has_a_task_for_each_run_without_a_record(micro: MakeSpec, tmp_path: Path, commands: Path) -> None:
    specs = [micro("lm", seed=seed) for seed in range(3)]
    out = tmp_path / "out"
    run_grid(specs[1:2], out)
    grid = submit_grid(specs, out, None, SlurmOptions.parse("partition=gpu,gpus=1,time=8:00:00,cpus=2"), at_once=2)
    assert grid.job == "7"
    assert list(grid.logs) == [0, 2]
    assert [path.name for path in grid.logs.values()] == ["7_0_0_log.err", "7_1_0_log.err"]
    assert grid.instructions().splitlines()[0] == "Job 7 makes 2 runs; the other 1 are recorded."
    told = directives(commands / "script.sh")
    assert (
        told.items()
        >= {
            "array": "0-1%2",
            "partition": "gpu",
            "gpus-per-node": "1",
            "time": "480",
            "cpus-per-task": "2",
            "signal": "USR1@120",
            "requeue": "",
        }.items()
    )
    assert "wckey" not in told
    assert " --cpus-per-task=2 " in (commands / "script.sh").read_text()


def test_without_a_time_the_limit_is_the_partitions(micro: MakeSpec, tmp_path: Path, commands: Path) -> None:
    grid = submit_grid([micro("lm")], tmp_path / "out", None, SlurmOptions())
    assert grid.job == "7"
    assert not {"time", "partition", "mem", "array"} & directives(commands / "script.sh").keys()


def test_a_recorded_grid_submits_nothing(micro: MakeSpec, tmp_path: Path, commands: Path) -> None:
    specs = [micro("lm")]
    (local,) = run_grid(specs, tmp_path)
    grid = submit_grid(specs, tmp_path, None, SlurmOptions())
    assert not (commands / "script.sh").exists()
    assert grid.instructions() == "All 1 runs are recorded; no job was submitted."
    ended: list[tuple[int, Record | None]] = []
    (outcome,) = grid.wait(lambda number, outcome: ended.append((number, outcome.record)))
    assert outcome.record == local.record
    assert ended == [(0, local.record)]


def test_a_task_that_left_no_record_failed(micro: MakeSpec, tmp_path: Path, commands: Path) -> None:
    """The queue is empty, as after a cancelled job."""
    specs = [micro("lm"), micro("embed")]
    grid = submit_grid(specs, tmp_path, None, SlurmOptions())
    run_grid(specs[:1], tmp_path)
    done, failed = grid.wait(lambda number, outcome: None)
    assert done.record is not None
    assert (failed.record, failed.error) == (None, "task 7_1 ended without a record")
    assert failed.log == grid.logs[1]


STOPPED = '''"""A language model whose process gets a signal, once, at its n-th call of a method."""

import os
import signal
from pathlib import Path

from baselines.language_model import LanguageModel


class Stopped(LanguageModel):
    """Stopped in {method}."""

    calls = 0

    def {method}(self, *arguments, **options):
        """Counts."""
        Stopped.calls += 1
        if Stopped.calls == {call}:
            os.kill(os.getpid(), signal.{signal})
        return super().{method}(*arguments, **options)
'''


@pytest.fixture
def stopped(install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Installs a system whose process gets a signal, and returns its name."""
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setenv("SLURM_JOB_ID", "42")

    def install_stopped(method: str, call: int, name: str) -> str:
        source = STOPPED.format(method=method, call=call, signal=name)
        package = f"acme_{method}_{name}".lower()
        install(package, {package: f"{package}.model:Stopped"}, model=source)
        return package

    yield install_stopped
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def attempt(spec: RunSpec, out: Path) -> object:
    """Runs a task and returns the exit code that it asks for, None if it ends by itself."""
    try:
        Task(spec, out, None, None, threads=1)()
    except SystemExit as end:
        return end.code
    return None


def find_record(spec: RunSpec, out: Path) -> Record | None:
    stored = RecordStore(out).find(prepare(spec).identities.run)
    return stored.record if stored else None


def calls(commands: Path) -> list[str]:
    path = commands / "calls"
    return [line.rpartition("/")[2] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_task_that_is_warned_is_queued_again_and_continues(
    micro: MakeSpec, tmp_path: Path, commands: Path, stopped: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    spec = micro(stopped("encode", 12, "SIGUSR1"))  # amid the second of two epochs
    assert attempt(spec, tmp_path / "out") == 128 + signal.SIGUSR1
    assert calls(commands) == ["scontrol requeue 42"]
    assert find_record(spec, tmp_path / "out") is None
    assert len(list(tmp_path.glob("out/*/checkpoint.safetensors"))) == 1
    assert attempt(spec, tmp_path / "out") is None
    (undisturbed,) = run_grid([spec], tmp_path / "undisturbed")
    record = find_record(spec, tmp_path / "out")
    assert record is not None
    assert undisturbed.record is not None
    assert record.measurement() == undisturbed.record.measurement()
    assert record.model == undisturbed.record.model


def test_a_task_that_is_ended_is_not_queued_again(
    micro: MakeSpec, tmp_path: Path, commands: Path, stopped: Callable[..., str]
) -> None:
    """Slurm does so itself where it ends a task for another one; after scancel nobody does."""
    assert attempt(micro(stopped("encode", 12, "SIGTERM")), tmp_path / "out") == 128 + signal.SIGTERM
    assert calls(commands) == []


def test_a_task_that_only_scored_until_its_warning_fails(
    micro: MakeSpec, tmp_path: Path, commands: Path, stopped: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    system = stopped("generate", 1, "SIGUSR1")
    spec = micro(system, scoring={"n_generations": 2})
    assert attempt(spec, tmp_path / "out") == 128 + signal.SIGUSR1
    assert calls(commands) == ["scontrol requeue 42"]
    SYSTEMS.get(system).calls = 0  # type: ignore[attr-defined]
    assert attempt(spec, tmp_path / "out") == 128 + signal.SIGUSR1
    assert calls(commands) == ["scontrol requeue 42"]
    assert "scoring alone reached the time limit; give each task more time" in caplog.text


def test_a_task_that_fails_says_so_to_slurm(micro: MakeSpec, tmp_path: Path, odd_systems: None) -> None:
    broken: dict[str, Any] = {"tokenizer": {"kind": "folder"}}
    assert attempt(micro("lm", **broken), tmp_path / "out") == 1

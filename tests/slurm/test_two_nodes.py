"""Grids on a real Slurm of two nodes leave what a grid on one machine leaves, whatever happens to a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.harness.plan import plan
from bench.specs import RunSpec
from bench.suites import load_suite
from tests.slurm.cluster import Cluster
from tests.slurm.grids import EIGHT, finish, has_ended, results, start, submit, wait_until, write_grid

LONG: dict[str, Any] = {
    "description": "seconds of training",
    "limits": {"train": 24, "valid": 8, "test": 12},
    "max_tokens": 128,
    "tokenizer": {"vocabulary_size": 280},
    "backbone": {"layers": 1, "width": 16, "heads": 2, "positions": 128, "dropout": 0.1},
    "training": {"epochs": 300, "batch_tokens": 256},
    "scoring": {"n_importance_samples": 2, "batch_tokens": 512, "bootstrap_samples": 20, "n_generations": 2},
    "decoding": {"max_tokens": 8},
}


def folder_of(spec: RunSpec, out: Path) -> Path | None:
    return next(out.glob(f"{spec.task.name}.{spec.system.label}.s{spec.seed}.*"), None)


def in_training(spec: RunSpec, out: Path) -> bool:
    """Says whether the run has a checkpoint and no record."""
    folder = folder_of(spec, out)
    return folder is not None and (folder / "checkpoint.safetensors").exists() and not (folder / "record.json").exists()


def messages(out: Path, job: str, index: int) -> str:
    (log,) = out.glob(f"slurm/*/{job}_{index}_0_log.err")
    return log.read_text()


def test_eight_runs_survive_the_death_of_a_node(cluster: Cluster, tmp_path: Path) -> None:
    write_grid(tmp_path, EIGHT)
    finish(start(tmp_path, "--out", "local", "--jobs", "2"))
    specs = plan(load_suite(str(tmp_path / "suite.yaml")), "smoke")
    out = tmp_path / "slurm"
    job = submit(tmp_path, "--out", "slurm", cluster=cluster)

    def on_first_node() -> list[int]:
        running = ("squeue", "--noheader", "--array", "--jobs", job, "--states=RUNNING", "--nodelist=n1", "--format=%K")
        return [int(index) for index in cluster.ask(*running).split()]

    def amid_training() -> bool:
        """Some runs are recorded, and the one on the first node has a checkpoint."""
        return len(list(out.glob("*/record.json"))) >= 2 and any(in_training(specs[i], out) for i in on_first_node())

    wait_until(amid_training)
    (index,) = on_first_node()
    cluster.kill("n1")
    try:
        assert in_training(specs[index], out)
        wait_until(lambda: has_ended(cluster, job))
    finally:
        cluster.revive("n1")
    assert messages(out, job, index).count(": started") == 2
    assert f"{specs[index].title}: trains from its checkpoint" in messages(out, job, index)
    undisturbed = results(tmp_path / "local")
    assert len(undisturbed) == 8
    assert results(out) == undisturbed


def test_a_task_that_is_warned_or_preempted_is_queued_again(cluster: Cluster, tmp_path: Path) -> None:
    """The table and the exit code are those of a local grid."""
    write_grid(tmp_path, {"systems": ["lm", "embed"], "tasks": ["snli"]}, LONG)
    arguments = ("--scale", "scale.yaml", "--out")
    table, _ = finish(start(tmp_path, *arguments, "local"))
    specs = plan(load_suite(str(tmp_path / "suite.yaml")), str(tmp_path / "scale.yaml"))
    out = tmp_path / "slurm"
    with start(tmp_path, *arguments, "slurm", "--wait", "--slurm", "time=30,cpus=1", cluster=cluster) as process:
        wait_until(lambda: all(in_training(spec, out) for spec in specs) or process.poll() is not None)
        (job,) = {path.name.partition("_")[0] for path in out.glob("slurm/*/*.err")}
        cluster.ask("scancel", "--signal=USR1", f"{job}_0")  # as before the end of the time limit
        cluster.ask("scontrol", "requeue", f"{job}_1")  # as for a job of higher priority
        printed, err = finish(process)
    assert printed == table.replace("local/", "slurm/")
    assert "[2/2] " in err
    for index, signal in enumerate(("SIGUSR1", "SIGTERM")):
        assert f"{specs[index].title}: stopped by {signal}" in messages(out, job, index)
        assert f"{specs[index].title}: trains from its checkpoint" in messages(out, job, index)
    assert results(out) == results(tmp_path / "local")


def test_a_job_that_slurm_refuses_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    write_grid(tmp_path, EIGHT)
    process = start(tmp_path, "--out", "out", "--slurm", "partition=nowhere", cluster=cluster)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == (
        "della-bench: --launcher slurm: sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    )
    assert not list((tmp_path / "out" / "slurm").iterdir())

"""A grid whose 300 runs are all recorded: ``python -m tests.benchmarks.recorded_grid`` makes one and runs it again.

It prints the CPU time of the command. The runs of the first seed are real; those of the others are copies of them with
the identities of their seeds.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.harness.grid import run_grid
from bench.harness.model_folder import share_model
from bench.harness.plan import plan
from bench.harness.recording import Recording
from bench.records.store import StoredRun, load_runs
from bench.suites import Suite

SCALE = Path(__file__).parents[1] / "cli" / "micro.yaml"
SUITE = Suite(
    name="grid",
    systems=("lm", "embed", "memory", "softmax", "della"),
    tasks=("ptb", "snli", "yelp", "yahoo", "quora", "cnn_dailymail"),
    seeds=tuple(range(10)),
)


def write_grid(out: Path) -> None:
    """Records all runs of the suite in a folder."""
    specs = plan(SUITE, str(SCALE))
    run_grid([spec for spec in specs if spec.seed == 0], out)
    runs = {(run.record.task, run.record.label): run for run in load_runs([out])}
    for spec in specs:
        if spec.seed != 0:
            _copy(runs[spec.task.name, spec.system.label], Recording.begin(spec, out))


def _copy(run: StoredRun, recording: Recording) -> None:
    """Records a run with the results of another one."""
    identities = recording.identities
    changes = {
        "run_id": identities.run,
        "training_id": identities.training,
        "scoring_id": identities.scoring,
        "spec": recording.spec_as_json,
        "files": {},
    }
    share_model(run.path.parent, recording.folder)
    recording.store.write(run.record.model_copy(update=changes), run.statistics(), run.generations(10), run.curve())


def main() -> None:
    """Makes the grid and runs it again."""
    with tempfile.TemporaryDirectory() as scratch:
        write_grid(Path(scratch, "out"))
        (Path(scratch) / "grid.yaml").write_text(SUITE.model_dump_json(exclude={"layout"}, exclude_none=True))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        script = Path(sys.executable).with_name("della-bench")
        command = [str(script), "--quiet", "run", "grid.yaml", "--scale", str(SCALE), "--out", "out"]
        subprocess.run(command, cwd=scratch, check=True, capture_output=True)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(f"{len(plan(SUITE, str(SCALE)))} recorded runs: {seconds:.1f} s of CPU time\n")


if __name__ == "__main__":
    main()

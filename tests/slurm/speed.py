"""``python -m tests.slurm.speed``: the time of eight runs on one node of a Slurm and on two; prints their ratio.

It needs root and two idle cores. What a machine prepares once is not kept, so that the second grid has no advantage.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.records.store import load_runs
from tests.slurm.cluster import Cluster, why_not
from tests.slurm.grids import EIGHT, has_ended, submit, wait_until, write_grid


def seconds(folder: Path, partition: str, cluster: Cluster) -> float:
    """Returns the seconds from the submission of the grid to the end of its job."""
    start = time.monotonic()
    job = submit(folder, "--out", partition, "--slurm", f"partition={partition}", cluster=cluster)
    wait_until(lambda: has_ended(cluster, job))
    passed = time.monotonic() - start
    finished = [run for run in load_runs([folder / partition]) if run.record.status == "finished"]
    if len(finished) != 8:
        raise RuntimeError(f"{len(finished)} of 8 runs are finished")
    return passed


def main() -> int:
    """Prints the seconds of both grids and their ratio."""
    if reason := why_not():
        sys.stderr.write(f"{reason}\n")
        return 2
    os.environ["DELLA_BENCH_CACHE"] = ""
    with tempfile.TemporaryDirectory() as scratch:
        home, folder = Path(scratch, "cluster"), Path(scratch, "grids").resolve()
        home.mkdir()
        write_grid(folder, EIGHT)
        with Cluster(home) as cluster:
            one, two = (seconds(folder, partition, cluster) for partition in ("one", "all"))
    sys.stdout.write(f"8 runs: {one:.0f} s on one node, {two:.0f} s on two: {one / two:.2f} times as fast\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

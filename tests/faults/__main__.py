"""``python -m tests.faults``: kills and full disks; prints what happened and fails if anything was lost.

It needs Linux; full disks need root, else they are left out. With ``--slurm`` it kills tasks on a Slurm of two nodes,
which it starts on this machine as root.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench.storage import atomic_write
from tests.faults.disk import fill_disks
from tests.faults.kills import kill_grids
from tests.faults.tasks import kill_tasks
from tests.pages import with_part
from tests.slurm.cluster import why_not


def main() -> int:
    """Runs all faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slurm", action="store_true", help="kill tasks of Slurm instead of local processes")
    parser.add_argument("--into", type=Path, help="page whose part named kills, or slurm-kills, receives the figures")
    arguments = parser.parse_args()
    if arguments.slurm and (reason := why_not()):
        sys.stderr.write(f"{reason}\n")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        os.environ["DELLA_BENCH_CACHE"] = str(folder / "cache")
        kill = kill_tasks if arguments.slurm else kill_grids
        report = kill(folder / "kills", arguments.kills, arguments.seed)
        problems, lines = report.problems, list(report.lines(arguments.seed))
        left = sorted(path.name for path in (folder / "cache").glob(".*"))
        problems += [f"{name} is left in the cache" for name in left]
        if not arguments.slurm and os.geteuid() == 0:
            disks = fill_disks(folder / "disks")
            problems += [line for line in disks if not line.startswith("ok")]
            lines += disks
        elif not arguments.slurm:
            lines.append("full disks: not tried, since mounting needs root")
    text = "\n".join([*(f"- {line}" for line in lines), "", f"Problems: {len(problems)}.", *problems, ""])
    sys.stdout.write(text)
    if arguments.into:
        part, option = ("slurm-kills", "--slurm ") if arguments.slurm else ("kills", "")
        figures = f"--kills {arguments.kills} --seed {arguments.seed} --into {arguments.into}"
        command = f"`python -m tests.faults {option}{figures}`:"
        page = with_part(arguments.into.read_text(encoding="utf-8"), part, f"{command}\n\n{text}")
        atomic_write(arguments.into, page.encode())
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

"""Runs the checks of all registered systems with each instruction set that torch has kernels for, with 1 and 2 threads.

``python -m tests.testing.every_cpu CHECK...`` runs only the named checks. All checks take about half an hour.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import product

from bench.systems import SYSTEMS
from bench.testing import check_system

CAPABILITIES = ("default", "avx2", "avx512")
THREADS = ("1", "2")


def check_all(checks: list[str]) -> bool:
    """Prints the results of every system in this process; returns whether all keep their promises."""
    sound = True
    for name in SYSTEMS.names():
        results = list(check_system(SYSTEMS.get(name), {}, checks))
        failed = [str(result) for result in results if result.status == "FAILED"]
        statuses = Counter(result.status for result in results)
        sys.stdout.write("\n".join([f"  {name}: {dict(statuses)}", *failed, ""]))
        sys.stdout.flush()
        sound = sound and not failed
    return sound


def main() -> int:
    """Starts a process for every choice; returns the number of those with failures."""
    failed = 0
    code = "import sys; from tests.testing.every_cpu import check_all; sys.exit(not check_all(sys.argv[1:]))"
    for capability, threads in product(CAPABILITIES, THREADS):
        sys.stdout.write(f"{capability}, {threads} thread(s):\n")
        sys.stdout.flush()
        variables = {"ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", code, *sys.argv[1:]]
        done = subprocess.run(command, env={**os.environ, **variables}, check=False)  # noqa: S603
        failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())

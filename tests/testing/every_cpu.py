"""Runs the checks of registered systems with each instruction set that torch has kernels for, with 1 and 2 threads.

``python -m tests.testing.every_cpu [CHECKS]`` runs some checks only, comma-separated. All checks take half an hour.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

from bench.systems import SYSTEMS

CAPABILITIES = ("default", "avx2", "avx512")
THREADS = ("1", "2")
SCRIPT = str(Path(sys.executable).with_name("della-bench"))


def main() -> int:
    """Prints a line for every run, with its failures; returns the number of runs with failures."""
    failed = 0
    for name, capability, threads in product(SYSTEMS.names(), CAPABILITIES, THREADS):
        command = [SCRIPT, "check", name, "--failed", "--checks", *(sys.argv[1:] or [""])]
        variables = {"ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": threads}
        environment = {**os.environ, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        *failures, total = (done.stdout or done.stderr).splitlines()
        failed += done.returncode != 0
        sys.stdout.write("\n".join([f"{name} {capability} {threads} thread(s): {total}", *failures, ""]))
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main())

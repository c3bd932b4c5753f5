"""``python -m tests.gate.regress`` runs the grid of the regression gate and compares it with the committed records.

What was measured stays in ``runs/regress``. Exit codes are those of ``della-bench compare``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from tests.cli.cli_process import SCRIPT
from tests.gate.grid import NAME, REFERENCE, REPOSITORY, SPEED, measure_speed, run_grid
from tests.reference_records import WHY_MISSING

SEVERITY = (2, 1, 3, 0)
"""Exit codes of ``compare``, the worst first: a mistake, something worse, something that cannot be compared, fine."""


def main(reference: Path = REFERENCE, out: Path = REPOSITORY / "runs" / NAME) -> int:
    """Runs the grid into an emptied folder, compares it with the reference, and returns the exit code.

    In a job of GitHub Actions the comparison is written to the summary of the job too.
    """
    if not reference.is_dir():
        sys.stderr.write(f"{WHY_MISSING}\n")
        return SEVERITY[0]
    shutil.rmtree(out, ignore_errors=True)
    run = run_grid(out, jobs=os.cpu_count() or 1, quiet=False)
    measured = measure_speed(out / SPEED)
    codes = [_compare(reference, out, "--exact"), _compare(reference / SPEED, out / SPEED)]
    # What fails without a trace in the records, such as an impossible score, fails the gate too.
    return worst(codes) or int(bool(run or measured))


def worst(codes: Collection[int]) -> int:
    """Returns the worst exit code; one that ``compare`` does not use, such as that of a signal, counts as a mistake."""
    return min((code if code in SEVERITY else SEVERITY[0] for code in codes), key=SEVERITY.index)


def _compare(first: Path, second: Path, *options: str) -> int:
    command = [SCRIPT, "compare", str(first), str(second), *options]
    code = subprocess.run(command, check=False).returncode  # noqa: S603  # our own command
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            subprocess.run([*command, "--format", "md"], check=False, stdout=file)  # noqa: S603  # our own command
    return code


if __name__ == "__main__":
    sys.exit(main())

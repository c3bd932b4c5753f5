"""``python -m tests.gate [PAGE]`` tests the regression gate: unchanged code passes, and each fault is noticed.

It takes about ten minutes on two cores. With a page, usually ``docs/regression-gate.md``, the table of the faults is
written into it. ``--only`` examines the faults whose name contains a text, and writes no other row.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.storage import atomic_write
from tests.gate.faults import FAULTS
from tests.gate.study import Finding, examine_all, run_unchanged, with_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if unchanged code did not pass or a fault was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gate", description="Tests the regression gate.")
    parser.add_argument("page", type=Path, nargs="?", help="page whose table of faults is written")
    parser.add_argument("--only", default="", help="examine only the faults whose name contains this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    options = parser.parse_args(arguments)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.only:
            for title, code, bad in run_unchanged(folder, options.jobs):
                failed |= code != 0
                write("\n".join([f"{title}: exit code {code}", *map(str, bad)]))
        findings: list[Finding] = []
        for finding in examine_all(folder, [fault for fault in FAULTS if options.only in fault.name], options.jobs):
            findings.append(finding)
            failed |= not finding.noticed
            mark = "" if finding.noticed else f"NOT NOTICED (expected exit code {finding.fault.code}) "
            said = f"exit code {finding.answer.code}, elsewhere {finding.answer.elsewhere}: {finding.answer.line}"
            write(f"{mark}{finding.fault.name}: {said}")
    if options.page is not None:
        page = options.page.read_text(encoding="utf-8")
        atomic_write(options.page, with_table(page, findings).encode())
    return int(failed)


def write(line: str) -> None:
    """Writes a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

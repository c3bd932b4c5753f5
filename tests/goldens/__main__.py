"""Writes the golden values of all components: ``python -m tests.goldens [--reason REASON]``.

Values that moved while the version of their component did not are refused, unless a reason is given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.goldens.golden import FOLDER, Kind
from tests.goldens.kinds import KINDS


def main(arguments: Sequence[str] | None = None, kinds: Sequence[Kind] = KINDS, folder: Path = FOLDER) -> str | None:
    """Returns what was not written and why; None if everything was."""
    parser = argparse.ArgumentParser(prog="python -m tests.goldens", description="Writes the golden values.")
    parser.add_argument("--reason", help="why values moved although no number of a run did; kept beside the values")
    reason = parser.parse_args(arguments).reason
    lines: list[str] = []
    for kind in kinds:
        incomparable = kind.incomparable and [f"{kind.name}: not written, because {kind.incomparable}"]
        lines += incomparable or kind.write(reason, folder)
    return "\n".join(lines) or None


if __name__ == "__main__":
    os.environ["DELLA_BENCH_CACHE"] = ""  # else tokens that older code has cached would be measured
    sys.exit(main())

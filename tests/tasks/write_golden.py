"""Rewrites golden.json, the checksums of the embedded corpora: python tests/tasks/write_golden.py.

A checksum that moved needs a new version of its task first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.specs import TaskSpec
from bench.tasks import TASKS, load_texts

GOLDEN = Path(__file__).with_name("golden.json")


def read() -> dict[str, dict[str, object]]:
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def problems(golden: dict[str, dict[str, object]], current: dict[str, dict[str, object]]) -> list[str]:
    """Returns what is wrong with moving from the golden checksums to the current ones."""
    return [
        f"{name}: other texts under version {entry['version']}; raise the version in its grammar file"
        for name, entry in current.items()
        if name in golden and entry != golden[name] and entry["version"] == golden[name]["version"]
    ]


def main() -> None:
    corpora = [load_texts(TaskSpec(name=name)) for name in TASKS.names()]
    current = {corpus.task: {"version": corpus.version, "sha256": corpus.sha256} for corpus in corpora}
    if moved := problems(read(), current):
        sys.exit("\n".join(moved))
    GOLDEN.write_text(json.dumps(current, indent=2) + "\n")


if __name__ == "__main__":
    main()

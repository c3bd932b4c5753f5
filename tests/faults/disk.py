"""Grids on a file system that is full: of bytes, or of inodes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.kills import Grid

SIZES = {"bytes": ("size=200k", "size=1m"), "inodes": ("nr_inodes=12", "nr_inodes=30")}
"""Options of small file systems by what they lack: too little for the first run, and for the whole grid."""

PLENTY = "size=64m,nr_inodes=10k"


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Mounts a file system of a given size on a folder, which needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)  # noqa: S603, S607
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: S603, S607


def fill_disks(folder: Path) -> list[str]:
    """Runs a grid on each small disk, then with room; returns one line for each, which begins with ``ok`` if it is.

    The command must say in one line what it cannot write, keep what is finished, and complete the grid with room.
    """
    undisturbed = Grid.create(folder / "undisturbed", 1)
    undisturbed.complete()
    expected, lines = undisturbed.files(), []
    for kind, sizes in SIZES.items():
        for number, options in enumerate(sizes):
            grid = Grid.create(folder / f"{kind}-{number}", 1)
            with small_disk(grid.out, options):
                finished = grid.start().finish()
                kept = len(list(grid.out.glob("*/record.json")))
                said = [line for line in finished.err.splitlines() if "No space left" in line]
                subprocess.run(["mount", "-o", f"remount,{PLENTY}", grid.out], check=True)  # noqa: S603, S607
                grid.complete()
                whole = grid.files() == expected
            fine = finished.code in (1, 2) and said and "Traceback" not in finished.err and whole
            lines.append(
                f"{'ok' if fine else 'BAD'}: {options}: exit code {finished.code}, {kept} of 4 runs kept, then"
                f" {'whole' if whole else 'different'}; {said[0] if said else finished.err[-200:]!r}"
            )
    return lines

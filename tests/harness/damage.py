"""Damage of files as disks and killed copies make it: a flipped bit, or an end that is missing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

CASES = int(os.environ.get("DELLA_BENCH_DAMAGE", "40"))
"""Cases per file; set the variable for more of them."""


def damages(seed: int, cases: int = CASES) -> Iterator[Callable[[Path], None]]:
    """Yields functions that damage a file: in turns, a flipped bit somewhere, one in the first KiB, and a cut."""
    chance = random.Random(seed)

    def flip(path: Path, within: int | None) -> None:
        content = bytearray(path.read_bytes())
        place = chance.randrange(8 * min(len(content), within or len(content)))
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)

    def cut(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: chance.randrange(len(content))])

    kinds = (lambda path: flip(path, None), lambda path: flip(path, 1024), cut)
    for number in range(cases):
        yield kinds[number % len(kinds)]

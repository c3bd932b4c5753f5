"""Reads many damaged inputs: ``python -m tests.fuzz --cases 3000 [--readers "record;suite"] [--seed 0]``.

Prints a line for each reader, and the first finding of each kind; the exit code is 1 if there are any. With ``--keep
FOLDER`` the damaged file of each printed finding is written there, with ``--into PAGE`` the rows of these readers into
the table of a page.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.storage import atomic_write
from tests.fuzz.cases import check, damaged_file
from tests.fuzz.readers import READERS
from tests.pages import with_rows

HEAD = "| reader | seed | cases | findings |\n| --- | ---: | ---: | ---: |\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000, help="of each reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="", help="names, separated by semicolons; by default all")
    parser.add_argument("--keep", type=Path, help="folder for the damaged files of findings")
    parser.add_argument("--into", type=Path, help="page whose table named fuzz receives a row for each reader")
    chosen = parser.parse_args()
    names = [name.strip() for name in chosen.readers.split(";") if name.strip()] or list(READERS)
    numbers = range(chosen.first, chosen.first + chosen.cases)
    say(f"seed {chosen.seed}, cases {numbers.start} to {numbers.stop - 1}")
    total, rows = 0, {}
    for name in names:
        start = time.monotonic()
        kinds: dict[tuple[str, str], list[str]] = {}
        for finding in check(name, numbers, chosen.seed):
            total += 1
            of_kind = kinds.setdefault((finding.what[:60], finding.place), [])
            of_kind.append(str(finding))
            if chosen.keep and len(of_kind) == 1 and finding.number >= 0:
                file, content = damaged_file(name, finding.number, chosen.seed)
                chosen.keep.mkdir(parents=True, exist_ok=True)
                (chosen.keep / f"{name}-{finding.number}-{file.name}".replace(" ", "-")).write_bytes(content)
        count = sum(map(len, kinds.values()))
        say(f"{name:<20} {len(numbers)} cases, {count} findings, {time.monotonic() - start:.0f} s")
        for findings in kinds.values():
            say(f"    {len(findings)} x {findings[0]}")
        rows[name] = f"| {name} | {chosen.seed} | {numbers.start} to {numbers.stop - 1} | {count} |\n"
    if chosen.into:
        page = with_rows(chosen.into.read_text(encoding="utf-8"), "fuzz", HEAD, rows, READERS)
        atomic_write(chosen.into, page.encode())
    return int(total > 0)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

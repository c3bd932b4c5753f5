"""A data set of many lines, read without limits: ``python -m tests.benchmarks.many_lines`` reads a million.

It prints CPU time and peak memory of a process that prepares a run: reads the texts, trains the tokenizer,
tokenizes and counts. Nothing comes from the cache.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness.plan import run_spec
from bench.harness.prepare import prepare
from bench.scales import load_scale
from bench.tasks import TASKS
from tests.benchmarks.peak import memory

DISTINCT = 4_000
"""Texts of the grammar that the lines are made of: one of them and the last word of another."""


def write_lines(folder: Path, count: int) -> None:
    """Writes the splits of a task: ``count`` lines to train on, a thousand for each other split."""
    draw, grammar = random.Random(0), TASKS.get("ptb").grammar()
    texts = [grammar.draw(random.Random(number))[0].target for number in range(DISTINCT)]
    for split, n in (("train", count), ("valid", 1_000), ("test", 1_000)):
        with (folder / f"{split}.txt").open("w", encoding="utf-8") as file:
            file.writelines(f"{draw.choice(texts)} {draw.choice(texts).split()[-1]}\n" for _ in range(n))


def preparation(folder: Path) -> Callable[[], object]:
    """Returns what prepares a run of the scale ``small`` without limits, and the facts for its record."""
    os.environ["DELLA_BENCH_CACHE"] = ""
    spec = run_spec("embed", "ptb", 0, "small", load_scale("small").for_task("ptb"), "files")
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"limits": {}})})
    return lambda: prepare(spec, folder).data_facts()


def main(count: int) -> None:
    """Prepares a run of ``count`` lines."""
    with tempfile.TemporaryDirectory() as scratch:
        work = preparation(Path(scratch))
        if (writer := os.fork()) == 0:  # whose memory does not count
            write_lines(Path(scratch), count)
            os._exit(0)
        if os.waitpid(writer, 0)[1] != 0:
            raise RuntimeError("the lines cannot be written")
        megabytes = (Path(scratch) / "train.txt").stat().st_size / 1e6
        before, start = memory("VmRSS"), time.process_time()
        work()
        seconds, peak = time.process_time() - start, memory("VmHWM")
    sys.stdout.write(
        f"{count:,} lines, {megabytes:.0f} MB: {seconds:.0f} s of CPU time, {peak / 1e9:.2f} GB of memory,"
        f" {before / 1e9:.2f} GB of them before\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

"""How much MAUVE of few texts is too high, on real texts: ``python -m tests.metrics.mauve_bias docs/text-metrics.md``.

Two halves of one corpus have the same distribution, so their MAUVE is 1 for any number of texts. Two corpora have
different ones; the value for 5,000 texts is what fewer texts should give. Needs the extra ``text`` and the variable
DELLA_BENCH_DATA.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

from bench.metrics.divergence import MAUVE
from bench.metrics.text import TextSet
from bench.specs import TaskSpec
from bench.storage import replace_block
from bench.tasks.task import load_texts

SIZES = (500, 1000, 2000, 5000)
DRAWS = 4
"""Disjoint draws of the smaller sizes, where the texts suffice."""


def texts_of(task: str, data: Path) -> tuple[str, ...]:
    """Returns different texts of a task, in the order of its training split."""
    spec = TaskSpec(name=task, source="files", conditional=task == "quora")
    return tuple(dict.fromkeys(example.target for example in load_texts(spec, data).splits["train"]))


def values(first: Sequence[str], second: Sequence[str], size: int) -> list[float]:
    """Returns MAUVE of each draw of ``size`` texts a side."""
    draws = min(DRAWS, len(first) // size, len(second) // size)
    slices = [slice(draw * size, (draw + 1) * size) for draw in range(draws)]
    return [MAUVE().score(TextSet(tuple(first[of]), corpus=tuple(second[of]))).value for of in slices]


def lines(data: Path) -> Iterator[str]:
    snli, quora = texts_of("snli", data)[:10_000], texts_of("quora", data)[:5000]
    pairs = {"SNLI and SNLI": (snli[:5000], snli[5000:]), "SNLI and Quora": (snli[:5000], quora)}
    yield f"| texts a side | {' | '.join(pairs)} |"
    yield f"| ---: | {' | '.join('---:' for _ in pairs)} |"
    for size in SIZES:
        cells = []
        for first, second in pairs.values():
            found = values(first, second, size)
            spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
            cells.append(f"{fmean(found):.3f}{spread}")
        yield f"| {size:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    replace_block(Path(sys.argv[1]), "mauve-bias", "\n".join(lines(Path(os.environ["DELLA_BENCH_DATA"]))) + "\n")

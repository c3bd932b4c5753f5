"""Prints by how many bytes the memory of a process grows at its peak while it does one piece of work.

    python -m tests.benchmarks.peak NAME [ARGUMENT]

In a process of its own, which nothing has grown before: what was freed once is not asked for again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.harness.scoring import score_texts
from bench.specs import ScoringSpec
from tests.benchmarks import yardstick
from tests.benchmarks.workloads import BATCH, SMALL, take_steps


def memory(name: str) -> int:
    """Returns the bytes of memory that the process holds now (``VmRSS``) or held at most (``VmHWM``)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def step_of_the_yardstick() -> Callable[[], object]:
    model = SMALL.yardstick()
    optimizer, ids = yardstick.optimizer(model), SMALL.tokenized.ids.tolist()
    return lambda: yardstick.train(model, optimizer, ids, BATCH, SMALL.tokenizer.pad)


def step(*settings: str) -> Callable[[], object]:
    trainer = SMALL.trainer(SMALL.system("della-2022"), **dict.fromkeys(settings, True))
    batches = SMALL.batches()
    return lambda: take_steps(trainer, batches)


def score(n_samples: str) -> Callable[[], object]:
    few, scoring = replace(SMALL, texts=16), ScoringSpec(n_importance_samples=int(n_samples))
    system = few.system("della")
    return lambda: score_texts(system, few.tokenized, scoring, "auto", latent_seed=0)


WORK = {"yardstick": step_of_the_yardstick, "step": step, "score": score}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    work = WORK[name](*arguments)
    before = memory("VmRSS")
    work()
    print(memory("VmHWM") - before)  # noqa: T201

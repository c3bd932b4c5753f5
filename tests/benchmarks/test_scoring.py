"""Importance-weighted scoring beside the yardstick, which encodes a text anew for every sample, and its growth.

The limit is the decoder's pass over every sample of every text: 2 floating-point operations for every weight and token.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.harness.scoring import score_texts
from bench.interface import System
from bench.specs import ScoringSpec
from tests.benchmarks import yardstick
from tests.benchmarks.figures import Beside, Growth
from tests.benchmarks.workloads import BATCH, SMALL, Workload

SCORED = Workload(layers=4, width=128, heads=4, vocabulary=4000, texts=32)


def scoring(system: System, workload: Workload, n_samples: int) -> Callable[[], object]:
    spec = ScoringSpec(n_importance_samples=n_samples)
    return lambda: score_texts(system, workload.tokenized, spec, "fp32", latent_seed=0)


@pytest.mark.main_ratio
def test_scoring_beside_the_yardstick(beside: Beside) -> None:
    """With the same weights; test_training.py shows that both give the same terms."""
    model, ids = SCORED.yardstick(), SCORED.tokenized.ids.tolist()
    beside(
        scoring(SCORED.like(model), SCORED, 30),
        lambda: yardstick.score(model, ids, BATCH, 30, SCORED.tokenizer.pad),
        at_most=1 / 3,
        rounds=3,
        **SCORED.sizes,
        samples=30,
    )


@pytest.mark.parametrize(("of", "series"), [("samples", (4, 8, 16, 32)), ("texts", (8, 16, 32, 64))])
def test_growth_of_scoring(growth: Growth, of: str, series: tuple[int, ...]) -> None:
    system = SMALL.system("della")

    def work(size: int) -> Callable[[], object]:
        texts, samples = (size, 4) if of == "texts" else (8, size)
        return scoring(system, Workload(layers=4, width=128, heads=4, vocabulary=4000, texts=texts), samples)

    growth(work, of, series, at_most=1.1, rounds=3, model="4 x 128")

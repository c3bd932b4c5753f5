"""Peak memory, each figure from processes of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.figures import Peak
from tests.benchmarks.workloads import SMALL


@pytest.mark.parametrize("settings", [(), ("activation_checkpointing",)], ids=["plain", "activation checkpointing"])
def test_steps_beside_the_yardstick(peak: Peak, settings: tuple[str, ...]) -> None:
    peak(["step", *settings], ["yardstick"], at_most=0.6, **SMALL.sizes)


def test_scoring_many_samples_beside_few(peak: Peak) -> None:
    """What grows is a number for each text and sample."""
    peak(["score", "320"], ["score", "32"], at_most=1.1, **replace(SMALL, texts=16).sizes)

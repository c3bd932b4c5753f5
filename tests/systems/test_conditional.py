"""Conditional tasks: properties of our systems that the contract does not demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bench.batch import Batch
from bench.interface import System
from bench.systems import SYSTEMS


def rolled(batch: Batch) -> Batch:
    """The batch with every text moved to the next row."""
    encoder = batch.encoder and rolled(batch.encoder)
    return replace(batch, ids=batch.ids.roll(1, 0), mask=batch.mask.roll(1, 0), encoder=encoder)


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
@pytest.mark.parametrize("name", SYSTEMS.names())
@torch.no_grad()
def test_the_prior_depends_on_the_source(
    make_system: Callable[..., System], pairs: Batch, name: str, kind: str
) -> None:
    system = make_system(name, depth=2, kind=kind, conditional=True)
    assert pairs.condition is not None
    samples = [
        system.sample_prior(1, condition, [torch.Generator().manual_seed(row) for row in range(len(pairs))])
        for condition in (pairs.condition, rolled(pairs.condition))
    ]
    for z, rolled_z in zip(*(path.z for path in samples), strict=True):
        assert float((z - rolled_z).abs().amax(dim=(1, 2)).min()) > 1e-3

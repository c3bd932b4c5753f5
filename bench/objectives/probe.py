"""What a part of an objective may want to know of a system before it is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.interface import Batch, LatentPath, System


@dataclass(frozen=True)
class Probe:
    """An untrained system with a few texts sent through it.

    Attributes:
        system: in evaluation mode.
        batch: the texts.
        path: one sample of their posteriors, with its graph.
    """

    system: System
    batch: Batch
    path: LatentPath

    @classmethod
    def of(cls, system: System, batch: Batch) -> Probe:
        """Sends a batch through the encoder."""
        system.eval()
        return cls(system, batch, system.encode(batch).sample(1, torch.Generator().manual_seed(0)))

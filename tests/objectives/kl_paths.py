"""Latent paths that have KL terms and nothing else, for objectives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.interface import LatentPath


def path_of_groups(kl: Tensor) -> LatentPath:
    """A path whose groups have the given KL (B x n x G), and no dimensions."""
    return LatentPath((), (), kl, kl, kl)


def path_of_dimensions(kl: Sequence[Tensor]) -> LatentPath:
    """A path whose dimensions have the given KL (B x n x D for each group)."""
    groups = torch.stack([group.sum(-1) for group in kl], dim=-1)
    return LatentPath((), (), groups, groups, groups, tuple(kl))

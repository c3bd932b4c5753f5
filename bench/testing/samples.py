"""Random generators and operations on samples, for the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from bench.interface import LatentPath


def generator(seed: int = 0) -> torch.Generator:
    """Returns a random generator."""
    return torch.Generator().manual_seed(seed)


def generators(rows: Sequence[int]) -> list[torch.Generator]:
    """Returns one random generator per text, seeded by its row."""
    return [generator(row) for row in rows]


def named_tensors(path: LatentPath) -> dict[str, Tensor]:
    """Returns the tensors of a path by name."""
    named: dict[str, Tensor] = {}
    for field in fields(path):
        value = getattr(path, field.name)
        if isinstance(value, tuple):
            named |= {f"{field.name}[{group}]": tensor for group, tensor in enumerate(value)}
        elif value is not None:
            named[field.name] = value
    return named


def samples_of_text(path: LatentPath, row: int) -> LatentPath:
    """Returns the path of one text."""
    return path.mapped(lambda tensor: tensor[[row]])


def for_every_text(path: LatentPath, rows: int) -> LatentPath:
    """Expands a path of one text to ``rows`` texts with the same samples."""
    return path.mapped(lambda tensor: tensor.expand(rows, *tensor.shape[1:]))


def repeat_sample(path: LatentPath, n: int) -> LatentPath:
    """Repeats the only sample of every text n times."""
    return path.mapped(lambda tensor: tensor.expand(-1, n, *tensor.shape[2:]))

"""Noise for samples, and samples looked at from several sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from bench.interface import LatentPath


def stream(seed: int = 0) -> torch.Generator:
    """Returns a source of noise."""
    return torch.Generator().manual_seed(seed)


def streams(rows: Sequence[int]) -> list[torch.Generator]:
    """Returns one source of noise for each text, by the text's number."""
    return [stream(row) for row in rows]


def tensors(path: LatentPath) -> dict[str, Tensor]:
    """Returns everything in a path by name."""
    named: dict[str, Tensor] = {}
    for one in fields(path):
        value = getattr(path, one.name)
        if isinstance(value, tuple):
            named |= {f"{one.name}[{group}]": tensor for group, tensor in enumerate(value)}
        elif value is not None:
            named[one.name] = value
    return named


def of_text(path: LatentPath, row: int) -> LatentPath:
    """Returns the samples of one text."""
    return path.mapped(lambda tensor: tensor[[row]])


def for_each(path: LatentPath, rows: int) -> LatentPath:
    """Returns the samples of the only text of a path as those of each of ``rows`` texts."""
    return path.mapped(lambda tensor: tensor.expand(rows, *tensor.shape[1:]))


def repeated(path: LatentPath, n: int) -> LatentPath:
    """Returns the only sample of every text n times."""
    return path.mapped(lambda tensor: tensor.expand(-1, n, *tensor.shape[2:]))

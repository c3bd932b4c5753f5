"""Attention written out for one query, head and key at a time, with random inputs: the oracle of the tests."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

N, SIZE, LAYERS = 3, 4, 2
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
"""Tolerance in float64, where both sides agree to rounding."""


class Attention(nn.Module):
    """The attributes of an attention layer that the attention function reads."""

    def __init__(self, groups: int = 1, layer: int = 1) -> None:
        super().__init__()
        self.is_causal = True
        self.num_key_value_groups = groups
        self.layer_idx = layer


def literal(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    memory: Tensor | None = None,
    gate: Tensor | None = None,
    factors: Tensor | None = None,
) -> Tensor:
    """Attention with a memory that every query attends to (N x 2 x key heads * size) and a gate (N x key heads * size).

    Factors multiply the attention weights (N x heads x queries x keys); the memory's factor comes first.
    """
    n, heads, queries, size = query.shape
    result = torch.zeros(n, queries, heads, size, dtype=query.dtype)
    for text in range(n):
        for head in range(heads):
            of_head = head // (heads // key.shape[1])  # neighbouring query heads share a key head
            at = slice(of_head * size, (of_head + 1) * size)
            for place in range(queries):
                seen = [k for k in range(key.shape[2]) if mask[text, place, k]]
                keys = [key[text, of_head, k] for k in seen]
                values = [value[text, of_head, k] for k in seen]
                if memory is not None:
                    seen = [0, *(k + 1 for k in seen)]
                    keys.insert(0, memory[text, 0, at])
                    values.insert(0, memory[text, 1, at])
                scores = torch.stack([query[text, head, place] @ k for k in keys]) / math.sqrt(size)
                weights = scores.exp() / scores.exp().sum()
                if factors is not None:
                    weights = weights * factors[text, head, place, seen]
                result[text, place, head] = sum(w * v for w, v in zip(weights, values, strict=True))
                if gate is not None:
                    result[text, place, head] *= gate[text, at]
    return result


def tensors(heads: int, key_heads: int, queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value, and memory and gates of two layers."""
    torch.manual_seed(0)
    shapes = (
        (N, heads, queries, SIZE),
        (N, key_heads, keys, SIZE),
        (N, key_heads, keys, SIZE),
        (N, LAYERS, 2, key_heads * SIZE),
        (N, LAYERS, key_heads * SIZE),
    )
    query, key, value, memory, gate = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    return query, key, value, memory, gate


def causal(queries: int, keys: int) -> Tensor:
    """A causal mask: the last query sees every key, the query before it all but the last key, and so on."""
    return torch.tensor([[k <= q + keys - queries for k in range(keys)] for q in range(queries)]).expand(N, -1, -1)

"""Attention by the kernels that the device has."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bench.backbones.dropout import drop


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> Tensor:
    """Returns scaled dot-product attention (N x queries x heads x size of a value).

    No kernel of torch for processors drops weights; with dropout torch goes step by step, and so is done here, faster.

    Args:
        module: the attention layer.
        query: (N x heads x queries x head size).
        key: (N x heads x keys x head size).
        value: (N x heads x keys x size of a value).
        attention_mask: True where a query may look, or None for everywhere, or for everything before it.
        dropout: probability with which a weight is dropped.
        scaling: of the products; 1 / sqrt(head size) if None.
        is_causal: whether, without a mask, queries look only at what is before them; the module's if None.
        **kwargs: passed on to SDPA.
    """
    if not dropout or query.device.type != "cpu" or query.shape[1] != key.shape[1]:
        kwargs |= {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        return cast(Tensor, sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0])
    if attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        attention_mask = causal_mask(query.shape[2], key.shape[2], query.device)
    scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores += torch.zeros_like(attention_mask, dtype=scores.dtype).masked_fill_(~attention_mask, float("-inf"))
    return (drop(scores.softmax(-1), dropout) @ value).transpose(1, 2)


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """Returns where the last ``queries`` of ``keys`` positions may look: at themselves and before (queries x keys)."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)

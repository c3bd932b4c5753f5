"""Scaled dot-product attention by the fastest way that the device has."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

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

    None of torch's fused kernels for the CPU has dropout; the steps that torch takes instead are done faster here.

    Args:
        module: the attention layer.
        query: (N x heads x queries x head size).
        key: (N x heads x keys x head size).
        value: (N x heads x keys x size of a value).
        attention_mask: True where a query may look, or None: then ``is_causal`` decides.
        dropout: probability with which an attention weight is dropped.
        scaling: factor of the products; 1 / sqrt(head size) if None.
        is_causal: whether, without a mask, queries look only at keys up to their own position; if None, the module's
            attribute decides.
        **kwargs: passed on to SDPA.
    """
    if not dropout or query.device.type != "cpu" or query.shape[1] != key.shape[1]:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        kwargs |= {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        return cast(Tensor, sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0])
    if attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        attention_mask = causal_mask(query.shape[2], key.shape[2], query.device)
    scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores += torch.zeros_like(attention_mask, dtype=scores.dtype).masked_fill_(~attention_mask, float("-inf"))
    return (drop(scores.softmax(-1), dropout) @ value).transpose(1, 2)


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """Returns True where a query may look: at its own position and before (queries x keys).

    The queries are the last of the positions of the keys.
    """
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)

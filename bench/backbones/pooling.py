"""Attention pooling: one vector per text from the hidden states of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override


class AttentionPooling(nn.Module):
    """Average of the hidden states, weighted by the softmax of a learned score; padding has no weight.

    The score of a position is gelu(h . w), as in the released DELLA code, which does give weight to padding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_weights = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.attention_weights, std=0.02)

    @override
    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pools hidden states (B x T x width) over the tokens of ``mask`` (B x T) to (B x width)."""
        scores = nn.functional.gelu(hidden @ self.attention_weights, approximate="tanh")
        weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        return torch.einsum("bt,btd->bd", weights, hidden)

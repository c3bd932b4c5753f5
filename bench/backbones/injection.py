"""How a latent variable enters a decoder: five places, all open to every system.

The decoder is an unmodified Hugging Face model. What a system adds reaches it as keyword arguments that begin with
``decoder_``, so that generation expands them over beams and an encoder never sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "della_bench"


@dataclass(frozen=True)
class Injection:
    """What a batch of latent samples adds to the decoder; N is the number of texts times samples.

    Attributes:
        embedding: added to the embedding of every token (N x width).
        memory: key and value of one extra position that every token attends to (N x layers x 2 x width).
        gate: multiplies the attention output, before its projection, in each gated layer (N x layers x width).
        logits: added to the scores of the next token (N x vocabulary).
        values: maps W composed with the value projection of each gated layer, v -> W v (layers x width x width).
            The same for all samples: merged into the weights, no product per token.
        value_bias: added to W v (layers x width).
        layers: 0-based numbers of the gated layers, in the order of ``gate``; the others are left alone.
    """

    embedding: Tensor | None = None
    memory: Tensor | None = None
    gate: Tensor | None = None
    logits: Tensor | None = None
    values: Tensor | None = None
    value_bias: Tensor | None = None
    layers: tuple[int, ...] = ()

    def keywords(self) -> dict[str, Any]:
        """Returns the per-sample tensors as keyword arguments of the decoder."""
        names = ("embedding", "memory", "gate", "logits")
        return {f"decoder_{name}": tensor for name in names if (tensor := getattr(self, name)) is not None}


def register_attention() -> None:
    """Makes the attention known to transformers under the name ``ATTENTION``; may be called any number of times."""
    AttentionInterface.register(ATTENTION, injected_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def injected_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    decoder_memory: Tensor | None = None,
    decoder_gate: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention with the memory in front of the keys and the gate behind the sum.

    A gate g = W_z z does not depend on the position, so sum_i a_i (v_i * g) = g * sum_i a_i v_i (Eq. 9 of DELLA):
    gating the output of the attention is gating every value vector.

    Args:
        module: the attention layer; its ``memory_index`` picks the memory, its ``gate_index`` the gate. A layer
            without the one or the other (an encoder's, a cross-attention) takes nothing.
        query: (N x heads x queries x head size).
        key: (N x key-value heads x keys x head size).
        value: as ``key``.
        attention_mask: True where a query may look, or None for plain causal attention.
        decoder_memory: (N x layers x 2 x key-value heads * head size).
        decoder_gate: (N x gated layers x heads * head size).
        **kwargs: passed on to SDPA.

    Returns:
        The attended values (N x queries x heads x head size), and None for the weights.
    """
    layer = getattr(module, "memory_index", None)
    if decoder_memory is not None and layer is not None:
        extra = decoder_memory[:, layer].unflatten(-1, (key.shape[1], 1, -1))  # N x 2 x heads x 1 x size
        attention_mask = _with_memory(attention_mask, query.shape[2], key.shape[2], query.device)
        key = torch.cat([extra[:, 0].to(key.dtype), key], dim=2)
        value = torch.cat([extra[:, 1].to(value.dtype), value], dim=2)
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    index = getattr(module, "gate_index", None)
    if decoder_gate is not None and index is not None:
        gate = decoder_gate[:, index].unflatten(-1, (1, *output.shape[2:]))
        output = output * gate.to(output.dtype)
    return output, None


def _with_memory(mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Tensor | None:
    """Lets every query see one more position, in front of the keys."""
    if mask is None:
        if queries == 1:
            return None
        return torch.ones(queries, keys + 1, dtype=torch.bool, device=device).tril(diagonal=keys - queries + 1)
    return nn.functional.pad(mask, (1, 0), value=True)

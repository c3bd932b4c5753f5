"""How a latent variable enters a decoder: six places, and how the tensors get there.

A system returns an `Injection`: tensors with one row per sample. The decoder stays an unmodified Hugging Face model.
The tensors reach it in these steps:

1. The injection is the keyword ``decoder_injection`` of the model's forward pass. Hugging Face's ``generate`` does not
   pass keywords that begin with ``decoder_`` to an encoder, so BART's encoder never sees it.
2. The forward pass (`InjectedCausalLM`, `InjectedBart`) adds the embedding and the logits, and passes the injection
   through every block to its attention function. Hugging Face finds that function by name: ``register_attention``
   registers `injected_attention` under the name ``ATTENTION``, which every stack is built with.
3. Each causal self-attention finds its slice by the number of its layer; every other attention ignores the injection.
4. Value maps are the same for all samples. Where a layer has one, it is merged into the weights of the layer's value
   projection (``Backbone.merged_value_maps``) and costs nothing per token. Several maps of a layer cannot be merged;
   the attention function applies them, and adds the bias of a map where the projection has none.

The training pass runs the blocks without the model's forward pass (``TransformerStack.run_blocks``), with the same
keyword and the weights of step 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones.attention import attend, causal_mask

ATTENTION = "della_bench"
"""Name of `injected_attention` in Hugging Face configs."""


@dataclass(frozen=True)
class Injection:
    """What a batch of latent samples adds to the decoder; N is the number of texts times samples.

    Key, value, gate and shift are as wide as the value vectors of a token: the number of their heads times the head
    size. Where there are more heads of queries, those that share a head of values share its gate and shift.

    Attributes:
        embedding: added to the embedding of every token (N x width of the stack).
        memory: key and value of one extra position that every token attends to (N x layers x 2 x width).
        gate: multiplies the attention output, before its projection (N x layers x width).
        shift: added to the attention output, after the gate (N x layers x width).
        logits: added to the logits of the next token (N x vocabulary).
        values: maps W of the value vectors, v -> W v, the same for all samples (layers x width x width). Several maps
            of a layer are stacked (layers x rank * width x width), with as many gates (N x layers x rank * width); the
            gated results are summed.
        value_bias: added to W v (layers x rank * width).
        layers: 0-based numbers of the layers, in the order of the layer axes above, or None for all layers; other
            layers are unchanged.

    Raises:
        ValueError: a memory together with several value maps, because it would be undefined which maps its value.
    """

    embedding: Tensor | None = None
    memory: Tensor | None = None
    gate: Tensor | None = None
    shift: Tensor | None = None
    logits: Tensor | None = None
    values: Tensor | None = None
    value_bias: Tensor | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.rank > 1:
            raise ValueError("an injection has a memory or several value maps, not both")

    @property
    def rank(self) -> int:
        """Number of value maps of a layer; 0 without any."""
        return 0 if self.values is None else self.values.shape[1] // self.values.shape[2]

    def repeated(self, n: int) -> Injection:
        """Returns the injection with every row n times, one copy after the other."""
        rows = {name: getattr(self, name) for name in ("embedding", "memory", "gate", "shift", "logits")}
        return replace(self, **{name: row.repeat_interleave(n, 0) for name, row in rows.items() if row is not None})

    def embedded(self, tokens: Tensor) -> Tensor:
        """Adds ``embedding`` to embedded tokens (N x T x width)."""
        return tokens if self.embedding is None else tokens + self.embedding[:, None]

    def scored(self, logits: Tensor) -> Tensor:
        """Adds ``logits`` to those of the decoder (N x T x vocabulary)."""
        return logits if self.logits is None else logits + self.logits[:, None]


def register_attention() -> None:
    """Registers `injected_attention` in transformers as ``ATTENTION``; calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(ATTENTION, injected_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def injected_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    decoder_injection: Injection | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention with the memory before the keys, and with gate and shift applied to its output.

    A gate g = W_z z does not depend on the position, so sum_i a_i (v_i * g) = g * sum_i a_i v_i (Eq. 9 of DELLA):
    gating the output of the attention equals gating every value vector. The weights a_i sum to one, so shifting the
    output equals shifting every value vector; only dropout of attention weights does not reach the shift.

    The arguments are those of ``attend``, and the injection, which only causal self-attention uses.

    Returns:
        The attended values (N x queries x heads x head size), and None for the weights.
    """
    added = decoder_injection
    index = getattr(module, "layer_idx", None) if getattr(module, "is_causal", False) else None
    if added is not None and added.layers is not None:
        index = added.layers.index(index) if index in added.layers else None
    if added is None or index is None:
        return attend(module, query, key, value, attention_mask, **kwargs), None
    heads = key.shape[1]
    if added.value_bias is not None and added.rank == 1 and _lacks_value_bias(module):
        value = value + added.value_bias[index].to(value.dtype).unflatten(-1, (heads, 1, -1))
    if added.memory is not None:
        extra = added.memory[:, index].unflatten(-1, (heads, 1, -1))  # N x 2 x heads x 1 x size
        attention_mask = _mask_with_memory(attention_mask, query.shape[2], key.shape[2], query.device)
        key = torch.cat([extra[:, 0].to(key.dtype), key], dim=2)
        value = torch.cat([extra[:, 1].to(value.dtype), value], dim=2)
    if added.values is not None and added.rank > 1:
        bias = None if added.value_bias is None else added.value_bias[index]
        output = _attend_to_mapped_values(
            added.values[index], bias, module, query, key, value, attention_mask, **kwargs
        )
    else:
        output = attend(module, query, key, value, attention_mask, **kwargs)[:, :, None]
    if added.gate is not None:
        gate = _for_query_heads(added.gate[:, index].unflatten(-1, (1, output.shape[2], heads, -1)), query.shape[1])
        output = output * gate.to(output.dtype)
    output = output.sum(2) if output.shape[2] > 1 else output.squeeze(2)
    if added.shift is not None:
        shift = _for_query_heads(added.shift[:, index].unflatten(-1, (1, heads, -1)), query.shape[1])
        output = output + shift.to(output.dtype)
    return output, None


def _lacks_value_bias(module: nn.Module) -> bool:
    """Returns whether no bias could be merged into the value projection of an attention layer."""
    projection = getattr(module, "v_proj", None)
    return projection is not None and projection.bias is None


def _for_query_heads(rows: Tensor, n: int, dim: int = -2) -> Tensor:
    """Repeats each head of values, along ``dim``, for the query heads that share it, n in all."""
    return rows if rows.shape[dim] == n else rows.repeat_interleave(n // rows.shape[dim], dim=dim)


def _attend_to_mapped_values(
    maps: Tensor,
    bias: Tensor | None,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> Tensor:
    """Attends to W v for each of several maps W (rank * width x width): N x queries x rank x heads x head size.

    In a pass over a whole text the value vectors are mapped before attention. With a cache this would map the values of
    all earlier tokens again for every new token. Since sum_i a_i W v_i = W sum_i a_i v_i, each head then attends to
    full-width value vectors, and the result is mapped.
    """
    heads, size = value.shape[1], value.shape[3]
    whole = value.transpose(1, 2).flatten(2)  # N x keys x width
    if query.shape[2] == key.shape[2]:
        mapped = nn.functional.linear(whole, maps, bias).unflatten(-1, (-1, heads, size))
        mapped = mapped.permute(0, 3, 1, 2, 4).flatten(3)  # N x heads x keys x rank * size
        attended = attend(module, query, key, mapped, attention_mask, **kwargs)
        return attended.unflatten(-1, (-1, size)).transpose(2, 3)
    per_head = whole[:, None].expand(-1, heads, -1, -1)
    attended = attend(module, query, key, per_head, attention_mask, **kwargs)

    def of_query_heads(rows: Tensor) -> Tensor:
        return _for_query_heads(rows.unflatten(0, (-1, heads, size)), query.shape[1], dim=1)

    output = torch.einsum("nqhd,rhsd->nqrhs", attended, of_query_heads(maps))
    return output if bias is None else output + of_query_heads(bias)


def _mask_with_memory(mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Tensor | None:
    """Returns the attention mask with one more position before the keys, which every query may look at."""
    if mask is None:
        return None if queries == 1 else causal_mask(queries, keys + 1, device)
    return nn.functional.pad(mask, (1, 0), value=True)

"""How a latent variable enters a decoder: six places, all open to every system.

The decoder is an unmodified Hugging Face model. What a system adds reaches it as keyword arguments that begin with
``decoder_``, so that generation expands them over beams and an encoder never sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bench.backbones.attention import attend, causal_mask

ATTENTION = "della_bench"


@dataclass(frozen=True)
class Injection:
    """What a batch of latent samples adds to the decoder; N is the number of texts times samples.

    Attributes:
        embedding: added to the embedding of every token (N x width).
        memory: key and value of one extra position that every token attends to (N x layers x 2 x width).
        gate: multiplies the attention output, before its projection, in each gated layer (N x layers x width).
        shift: added to it, behind the gate (N x layers x width).
        logits: added to the scores of the next token (N x vocabulary).
        values: maps W composed with the value projection of each gated layer, v -> W v (layers x width x width).
            The same for all samples: merged into the weights, no product per token. Several maps of a layer stand
            below each other (layers x rank * width x width), with as many gates (N x layers x rank * width): the gated
            parts are summed. No one projection holds them; the attention applies them.
        value_bias: added to W v (layers x rank * width).
        layers: 0-based numbers of the gated layers, in the order of ``gate``; the others are left alone.

    Raises:
        ValueError: a memory beside several value maps; which of them its value went through, nobody could say.
    """

    embedding: Tensor | None = None
    memory: Tensor | None = None
    gate: Tensor | None = None
    shift: Tensor | None = None
    logits: Tensor | None = None
    values: Tensor | None = None
    value_bias: Tensor | None = None
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.memory is not None and self.rank > 1:
            raise ValueError("an injection has a memory or several value maps, not both")

    @property
    def rank(self) -> int:
        """Number of value maps of a layer; 0 without any."""
        return 0 if self.values is None else self.values.shape[1] // self.values.shape[2]

    @property
    def merged_layers(self) -> tuple[int, ...]:
        """The layers whose value projections take up their one map."""
        return self.layers if self.rank == 1 else ()

    def keywords(self) -> dict[str, Any]:
        """Returns as keyword arguments of the decoder the per-sample tensors, and value maps that cannot be merged."""
        return self._given("embedding", "logits") | self.attention_keywords()

    def attention_keywords(self) -> dict[str, Any]:
        """Returns those of them that the attention of each layer takes."""
        given = self._given("memory", "gate", "shift")
        # A tuple, because generation repeats every tensor among its keywords for each beam.
        return given | {"decoder_values": (self.values, self.value_bias)} if self.rank > 1 else given

    def _given(self, *names: str) -> dict[str, Any]:
        return {f"decoder_{name}": tensor for name in names if (tensor := getattr(self, name)) is not None}

    def embedded(self, tokens: Tensor, n: int) -> Tensor:
        """Returns embedded tokens (B x T x width) for n samples of each text, the embedding added (N x T x width)."""
        tokens = tokens.repeat_interleave(n, dim=0)
        return tokens if self.embedding is None else tokens + self.embedding[:, None]


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
    decoder_shift: Tensor | None = None,
    decoder_values: tuple[Tensor, Tensor | None] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention with the memory in front of the keys and gate and shift behind the sum.

    A gate g = W_z z does not depend on the position, so sum_i a_i (v_i * g) = g * sum_i a_i v_i (Eq. 9 of DELLA):
    gating the output of the attention is gating every value vector. Weights a_i sum to one, so that shifting the output
    is shifting every value vector, but for dropout of weights, which the shift is spared.

    Args:
        module: the attention layer; its ``memory_index`` picks the memory, its ``gate_index`` the other parts. A layer
            without the one or the other (an encoder's, a cross-attention) takes nothing.
        query: (N x heads x queries x head size).
        key: (N x key-value heads x keys x head size).
        value: as ``key``.
        attention_mask: True where a query may look, or None for plain causal attention.
        decoder_memory: (N x layers x 2 x key-value heads * head size).
        decoder_gate: (N x gated layers x rank * heads * head size).
        decoder_shift: (N x gated layers x heads * head size).
        decoder_values: maps of the value vectors and their biases, where a layer has several (gated layers x rank *
            width x width, gated layers x rank * width).
        **kwargs: passed on to ``attend``.

    Returns:
        The attended values (N x queries x heads x head size), and None for the weights.
    """
    layer = getattr(module, "memory_index", None)
    if decoder_memory is not None and layer is not None:
        extra = decoder_memory[:, layer].unflatten(-1, (key.shape[1], 1, -1))  # N x 2 x heads x 1 x size
        attention_mask = _with_memory(attention_mask, query.shape[2], key.shape[2], query.device)
        key = torch.cat([extra[:, 0].to(key.dtype), key], dim=2)
        value = torch.cat([extra[:, 1].to(value.dtype), value], dim=2)
    index = getattr(module, "gate_index", None)
    if decoder_values is not None and index is not None:
        maps, biases = decoder_values
        bias = None if biases is None else biases[index]
        output = _attend_through(maps[index], bias, module, query, key, value, attention_mask, **kwargs)
    else:
        output = attend(module, query, key, value, attention_mask, **kwargs)[:, :, None]
    if decoder_gate is not None and index is not None:
        gate = decoder_gate[:, index].unflatten(-1, (1, *output.shape[2:]))
        output = output * gate.to(output.dtype)
    output = output.sum(2) if output.shape[2] > 1 else output.squeeze(2)
    if decoder_shift is not None and index is not None:
        shift = decoder_shift[:, index].unflatten(-1, (1, *output.shape[2:]))
        output = output + shift.to(output.dtype)
    return output, None


def _attend_through(
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

    A text as a whole has its values mapped. A token behind a cache would map those of all tokens before it anew;
    sum_i a_i W v_i = W sum_i a_i v_i, so there each head attends to whole value vectors and their sum is mapped.
    """
    heads, size = value.shape[1], value.shape[3]
    whole = value.transpose(1, 2).flatten(2)  # N x keys x width
    if query.shape[2] == key.shape[2]:
        mapped = nn.functional.linear(whole, maps, bias).unflatten(-1, (-1, heads, size))
        mapped = mapped.permute(0, 3, 1, 2, 4).flatten(3)  # N x heads x keys x rank * size
        attended = attend(module, query, key, mapped, attention_mask, **kwargs)
        return attended.unflatten(-1, (-1, size)).transpose(2, 3)
    every = whole[:, None].expand(-1, heads, -1, -1)
    attended = attend(module, query, key, every, attention_mask, **kwargs)
    of_heads = maps.unflatten(0, (-1, heads, size)).repeat_interleave(query.shape[1] // heads, dim=1)
    output = torch.einsum("nqhd,rhsd->nqrhs", attended, of_heads)
    if bias is None:
        return output
    return output + bias.unflatten(0, (-1, heads, size)).repeat_interleave(query.shape[1] // heads, dim=1)


def _with_memory(mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Tensor | None:
    """Lets every query see one more position, in front of the keys."""
    if mask is None:
        if queries == 1:
            return None
        return causal_mask(queries, keys + 1, device)
    return nn.functional.pad(mask, (1, 0), value=True)

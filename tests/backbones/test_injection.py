"""The attention that carries injections, against attention written out for one query, head and key at a time.

Everything runs in float64, where both sides agree to rounding.
"""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from bench.backbones.injection import ATTENTION, Injection, injected_attention, register_attention
from tests.backbones.literal_attention import EXACT, SIZE, Attention, N, causal, literal, tensors


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2), (4, 1)], ids=["one each", "grouped", "one for all"])
@pytest.mark.parametrize("parts", ["nothing", "memory", "gate", "both"])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 1), (1, 6)], ids=["prompt", "first token", "cached token"])
def test_without_a_mask_it_is_causal(queries: int, keys: int, parts: str, heads: int, key_heads: int) -> None:
    query, key, value, memory, gate = tensors(heads, key_heads, queries, keys)
    given = Injection(
        memory=memory if parts in ("memory", "both") else None, gate=gate if parts in ("gate", "both") else None
    )
    output, weights = injected_attention(Attention(heads // key_heads), query, key, value, None, given)
    one_memory, one_gate = (None if tensor is None else tensor[:, 1] for tensor in (given.memory, given.gate))
    torch.testing.assert_close(output, literal(query, key, value, causal(queries, keys), one_memory, one_gate), **EXACT)
    assert weights is None


def test_several_new_tokens_after_a_cache_see_the_memory_and_earlier_tokens() -> None:
    query, key, value, memory, _ = tensors(2, 2, 3, 6)
    output, _ = injected_attention(Attention(), query, key, value, None, Injection(memory=memory))
    torch.testing.assert_close(output, literal(query, key, value, causal(3, 6), memory[:, 1], None), **EXACT)


@pytest.mark.parametrize("with_memory", [True, False])
def test_a_mask_does_not_hide_the_memory(with_memory: bool) -> None:
    query, key, value, memory, gate = tensors(2, 2, 4, 6)
    mask = torch.rand(N, 4, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    if with_memory:
        mask[0, 0] = False  # sees nothing but the memory
    else:
        mask[..., 0] = True
    given = Injection(memory=memory if with_memory else None, gate=gate)
    output, _ = injected_attention(Attention(), query, key, value, mask[:, None], given)
    expected = literal(query, key, value, mask, memory[:, 1] if with_memory else None, gate[:, 1])
    torch.testing.assert_close(output, expected, **EXACT)


def mapped(value: Tensor, maps: Tensor, bias: Tensor) -> Tensor:
    """One map of full-width value vectors (width x width), key by key."""
    result = torch.zeros_like(value)
    for text in range(value.shape[0]):
        for place in range(value.shape[2]):
            whole = torch.cat([value[text, head, place] for head in range(value.shape[1])])
            result[text, :, place] = (maps @ whole + bias).view(value.shape[1], -1)
    return result


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2)], ids=["one each", "grouped"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 1), (1, 6), (3, 6)])
def test_several_value_maps_with_a_gate_each(
    queries: int, keys: int, masked: bool, with_bias: bool, heads: int, key_heads: int
) -> None:
    """It is the sum over the maps of attention to mapped and gated values, with and without a cache."""
    query, key, value, _, _ = tensors(heads, key_heads, queries, keys)
    rank, width = 3, key_heads * SIZE
    maps, bias, gate = (
        torch.randn(shape, dtype=torch.float64)
        for shape in ((2, rank, width, width), (2, rank, width), (N, 2, rank, width))
    )
    bias = bias * with_bias
    seen = causal(queries, keys)
    output, _ = injected_attention(
        Attention(heads // key_heads),
        query,
        key,
        value,
        seen[:, None] if masked or 1 < queries < keys else None,
        Injection(gate=gate.flatten(2), values=maps.flatten(1, 2), value_bias=bias.flatten(1) if with_bias else None),
    )
    parts = (literal(query, key, mapped(value, maps[1, j], bias[1, j]), seen, gate=gate[:, 1, j]) for j in range(rank))
    torch.testing.assert_close(output, sum(parts), **EXACT)


def test_a_shift_equals_a_shift_of_every_value_and_of_the_memory() -> None:
    query, key, value, memory, gate = tensors(2, 2, 3, 3)
    shift = torch.randn(N, 2, 2 * SIZE, dtype=torch.float64)
    output, _ = injected_attention(
        Attention(), query, key, value, None, Injection(memory=memory, gate=gate, shift=shift)
    )
    before = shift[:, 1] / gate[:, 1]  # the gate is applied before the shift
    value = value + before.view(N, 2, 1, SIZE)
    memory = memory + torch.stack([torch.zeros_like(before), before], 1)[:, None]
    torch.testing.assert_close(
        output, literal(query, key, value, causal(3, 3), memory[:, 1], gate[:, 1]), rtol=1e-9, atol=1e-9
    )


def test_error_for_a_memory_with_several_value_maps() -> None:
    with pytest.raises(ValueError, match="not both"):
        Injection(memory=torch.zeros(1, 1, 2, 4), values=torch.zeros(1, 8, 4))


@pytest.mark.parametrize("layers", [None, (0, 1), (4, 2)])
def test_each_layer_takes_its_slice(layers: tuple[int, ...] | None) -> None:
    query, key, value, memory, gate = tensors(2, 2, 3, 3)
    given = Injection(memory=memory, gate=gate, layers=layers)
    for index, layer in enumerate(layers or (0, 1)):
        output, _ = injected_attention(Attention(layer=layer), query, key, value, None, given)
        expected = literal(query, key, value, causal(3, 3), memory[:, index], gate[:, index])
        torch.testing.assert_close(output, expected, **EXACT)


def test_other_layers_and_attention_that_is_not_causal_ignore_the_injection() -> None:
    query, key, value, memory, gate = tensors(2, 2, 3, 3)
    given = Injection(memory=memory, gate=gate, layers=(0, 2))
    output, _ = injected_attention(Attention(), query, key, value, None, given)
    torch.testing.assert_close(output, literal(query, key, value, causal(3, 3), None, None), **EXACT)
    cross = Attention(layer=0)
    cross.is_causal = False
    output, _ = injected_attention(cross, query, key, value, None, given)
    everything = torch.ones(N, 3, 3, dtype=torch.bool)
    torch.testing.assert_close(output, literal(query, key, value, everything, None, None), **EXACT)


def test_injections_are_cast_to_the_data_type_of_the_layer() -> None:
    """Under autocast the layer works in bfloat16, whose 8 bits of mantissa bound the difference."""
    query, key, value, memory, gate = tensors(2, 2, 5, 5)
    low = [tensor.bfloat16() for tensor in (query, key, value)]
    given = Injection(memory=memory.float(), gate=gate.float())
    output, _ = injected_attention(Attention(), *low, None, given)
    assert output.dtype == torch.bfloat16
    expected = literal(query, key, value, causal(5, 5), memory[:, 1], gate[:, 1])
    torch.testing.assert_close(output.double(), expected, rtol=0.05, atol=0.05)


def test_gradients_reach_memory_and_gate() -> None:
    leaves = [tensor.requires_grad_() for tensor in tensors(2, 2, 3, 3)]
    query, key, value, memory, gate = leaves
    ours, _ = injected_attention(Attention(), query, key, value, None, Injection(memory=memory, gate=gate))
    theirs = literal(query, key, value, causal(3, 3), memory[:, 1], gate[:, 1])
    weights = torch.randn_like(ours)
    pairs = zip(*(torch.autograd.grad((output * weights).sum(), leaves) for output in (ours, theirs)), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, **EXACT)


def test_repeated_repeats_the_rows_of_samples() -> None:
    part = torch.arange(32.0).view(2, 4, 4)
    whole = Injection(*[part] * 7, layers=(0,))
    repeated = whole.repeated(3)
    of_all = {"values", "value_bias", "layers"}
    for name in {field.name for field in fields(Injection)} - of_all:
        assert torch.equal(getattr(repeated, name), part[[0, 0, 0, 1, 1, 1]])
    assert all(getattr(repeated, name) is getattr(whole, name) for name in of_all)
    assert Injection().repeated(3) == Injection()


def test_rank_is_the_number_of_value_maps() -> None:
    single, several = (Injection(values=torch.zeros(2, rank * 4, 4)) for rank in (1, 3))
    assert (Injection().rank, single.rank, several.rank) == (0, 1, 3)


def test_the_attention_can_be_registered_twice() -> None:
    for _ in range(2):
        register_attention()
    assert AttentionInterface()[ATTENTION] is injected_attention
    assert ATTENTION in AttentionMaskInterface()

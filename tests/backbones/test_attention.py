"""Attention with dropout against the literal attention with the same dropout mask, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.backbones import attention
from bench.backbones.attention import attend
from bench.backbones.dropout import drop
from bench.backbones.injection import Injection, injected_attention
from tests.backbones.literal_attention import EXACT, SIZE, Attention, N, causal, literal, tensors

P = 0.4


@pytest.fixture
def factors(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The factors of dropout of every pass, in the order of the passes."""
    recorded: list[Tensor] = []

    def record(values: Tensor, p: float) -> Tensor:
        dropped = drop(values, p)
        # The factor of a weight of 0 is unknown and has no effect.
        recorded.append(torch.where(values == 0, 0, dropped / values).detach())
        return dropped

    monkeypatch.setattr(attention, "drop", record)
    return recorded


def some_hidden(queries: int, keys: int) -> Tensor:
    """A random mask; every query sees at least one key."""
    mask = torch.rand(N, queries, keys, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 1), (1, 6), (3, 6)])
@pytest.mark.parametrize("seen", ["everything", "what is before", "what a mask leaves"])
def test_dropout_equals_the_literal_attention(factors: list[Tensor], seen: str, queries: int, keys: int) -> None:
    query, key, value, _, _ = tensors(2, 2, queries, keys)
    mask = some_hidden(queries, keys) if seen == "what a mask leaves" else None
    visible = {
        "everything": torch.ones(N, queries, keys, dtype=torch.bool),
        "what is before": causal(queries, keys),
        "what a mask leaves": mask,
    }[seen]
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    ours = attend(
        Attention(),
        *leaves,
        None if mask is None else mask[:, None],
        dropout=P,
        is_causal=seen == "what is before",
    )
    assert len(factors) == 1
    theirs = literal(*leaves, visible, factors=factors[0])
    torch.testing.assert_close(ours, theirs, **EXACT)
    direction = torch.randn_like(ours)
    for found, expected in zip(
        *(torch.autograd.grad((output * direction).sum(), leaves) for output in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 6)])
def test_dropout_applies_to_the_memory_too(factors: list[Tensor], masked: bool, queries: int, keys: int) -> None:
    query, key, value, memory, gate = tensors(2, 2, queries, keys)
    seen = some_hidden(queries, keys) if masked else causal(queries, keys)
    output, _ = injected_attention(
        Attention(),
        query,
        key,
        value,
        seen[:, None] if masked else None,
        Injection(memory=memory, gate=gate),
        dropout=P,
    )
    assert factors[0].shape == (N, 2, queries, keys + 1)
    assert 0 < int((factors[0][..., 0] == 0).sum()) < factors[0][..., 0].numel()
    torch.testing.assert_close(output, literal(query, key, value, seen, memory[:, 1], gate[:, 1], factors[0]), **EXACT)


def test_without_mask_and_argument_the_module_decides_whether_attention_is_causal(factors: list[Tensor]) -> None:
    query, key, value, _, _ = tensors(2, 2, 4, 4)
    layer, everything = Attention(), torch.ones(N, 4, 4, dtype=torch.bool)
    for is_causal, visible in ((True, causal(4, 4)), (False, everything)):
        layer.is_causal = is_causal
        ours = attend(layer, query, key, value, None, dropout=P)
        torch.testing.assert_close(ours, literal(query, key, value, visible, factors=factors[-1]), **EXACT)


def test_scaling(factors: list[Tensor]) -> None:
    query, key, value, _, _ = tensors(2, 2, 4, 4)
    ours = attend(Attention(), query, key, value, None, dropout=P, scaling=0.3)
    theirs = literal(query * 0.3 * SIZE**0.5, key, value, causal(4, 4), factors=factors[0])
    torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2)], ids=["one each", "grouped"])
@pytest.mark.parametrize("masked", [True, False])
def test_without_dropout_it_equals_torch(masked: bool, heads: int, key_heads: int) -> None:
    query, key, value, _, _ = tensors(heads, key_heads, 5, 5)
    mask = some_hidden(5, 5)[:, None] if masked else None
    state = torch.get_rng_state()
    ours = attend(Attention(heads // key_heads), query, key, value, mask)
    theirs = nn.functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=not masked, enable_gqa=heads > key_heads
    )
    torch.testing.assert_close(ours, theirs.transpose(1, 2), **EXACT)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 6)])
def test_dropout_keeps_the_mean(queries: int, keys: int) -> None:
    """4,000 draws; a mean over them is off by more than 5 of its standard errors once in two million."""
    draws = 4000
    query, key, value, _, _ = (tensor[:1] for tensor in tensors(2, 2, queries, keys))
    expected = attend(Attention(), query, key, value, None)
    torch.manual_seed(2)
    many = attend(Attention(), *(tensor.expand(draws, -1, -1, -1) for tensor in (query, key, value)), None, dropout=P)
    error = many.std(0) / draws**0.5
    assert bool(((many.mean(0) - expected[0]).abs() <= 5 * error).all())
    assert bool((error > 0).all())


def test_the_seed_determines_the_dropout() -> None:
    query, key, value, _, _ = tensors(2, 2, 4, 4)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(attend(Attention(), query, key, value, None, dropout=P))
    assert results[0].equal(results[1])
    assert not results[0].equal(results[2])

"""Dropout: the share of zeros, the scale of the other values, and the independence of neighbours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torch import nn
from transformers import BertModel, GPT2LMHeadModel, PreTrainedModel

from bench.backbones import Backbone, TransformerStack, build_encoder
from bench.backbones.dropout import STEPS, Dropout, drop
from bench.specs import EncoderSpec
from bench.tokenizers import Tokenizer

MANY = 2**18
UNLIKELY = 1e-4
"""Level of the statistical tests; their seeds are fixed, so they cannot fail by chance."""

probabilities = pytest.mark.parametrize("p", [0.01, 0.1, 1 / 3, 0.5, 0.9])


def used(p: float) -> float:
    """The nearest multiple of 1 / STEPS below 1."""
    return min(round(p * STEPS), STEPS - 1) / STEPS


@probabilities
def test_share_of_zeros(p: float) -> None:
    torch.manual_seed(0)
    kept = int(drop(torch.ones(MANY), p).count_nonzero())
    assert binomtest(kept, MANY, 1 - p).pvalue > UNLIKELY


@pytest.mark.parametrize("apart", [1, 2, 3, 4, 5, 64])
@probabilities
def test_neighbours_are_independent(p: float, apart: int) -> None:
    """Four values share one random number: all four outcomes of a pair have their frequencies, at any distance."""
    torch.manual_seed(1)
    kept = drop(torch.ones(MANY), p).bool().int()[: MANY // (2 * apart) * 2 * apart].view(-1, 2, apart)
    counts = torch.bincount((2 * kept[:, 0] + kept[:, 1]).flatten(), minlength=4)
    chances = [p * p, p * (1 - p), (1 - p) * p, (1 - p) ** 2]
    assert chisquare(counts, [int(counts.sum()) * chance for chance in chances]).pvalue > UNLIKELY


@given(p=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 2**32))
def test_scale_and_probability(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    dropped = drop(torch.ones(50, dtype=torch.float64), p)
    assert abs(used(p) - p) <= (2**-17 if p < 1 - 2**-17 else 2**-16)
    for scale in set(dropped[dropped != 0].tolist()):
        assert scale == 1 / (1 - used(p))


@pytest.mark.parametrize("p", [1 - 1 / STEPS, 1 - 1e-9])
def test_the_greatest_probability_keeps_a_few_values(p: float) -> None:
    torch.manual_seed(0)
    dropped = drop(torch.ones(STEPS * 8), p)
    assert set(dropped.tolist()) == {0.0, float(STEPS)}
    assert int(dropped.count_nonzero()) < 30  # 8 are expected


def test_the_smallest_probability_drops_nothing() -> None:
    values = torch.arange(1.0, 100.0)
    assert drop(values, 1e-9).equal(values)


@given(
    shape=st.lists(st.integers(0, 7), max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 2**32),
)
def test_shape_type_and_kept_values(shape: list[int], dtype: torch.dtype, seed: int) -> None:
    values = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=dtype).view(shape)
    torch.manual_seed(seed)
    dropped = drop(values, 0.25)
    assert (dropped.shape, dropped.dtype) == (values.shape, dtype)
    expected = values * torch.tensor(1 / 0.75, dtype=dtype)
    assert torch.where(dropped == 0, 0, expected).equal(dropped)


def test_strides_do_not_matter() -> None:
    values = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0))
    for view in (values.permute(2, 0, 1), values[:, ::2, 1:], values[:, :1].expand(-1, 4, -1)):
        torch.manual_seed(2)
        scattered = drop(view, 0.5)
        torch.manual_seed(2)
        assert scattered.equal(drop(view.contiguous(), 0.5))


def test_gradient() -> None:
    values = torch.randn(4, 33, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    dropped = drop(values, 0.3)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    torch.manual_seed(3)
    assert gradient.equal(drop(torch.ones_like(values), 0.3))
    assert 0 < int((gradient == 0).sum()) < gradient.numel()


def test_the_seed_of_torch_determines_the_dropout() -> None:
    values, results = torch.ones(1000), []
    for seed in (4, 4, 5):
        torch.manual_seed(seed)
        results.append((drop(values, 0.5), drop(values, 0.5)))
    (first, second), again, other = results
    assert first.equal(again[0])
    assert second.equal(again[1])
    assert not first.equal(second)
    assert not first.equal(other[0])


def test_it_compiles_without_a_graph_break() -> None:
    torch.manual_seed(0)
    dropped = torch.compile(lambda values: drop(values, 0.5) + 1, backend="eager", fullgraph=True)(torch.ones(1000))
    assert set(dropped.tolist()) == {1.0, 3.0}


def test_a_module_draws_random_numbers_only_in_training() -> None:
    values = torch.ones(100)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(values).equal(values)
    assert Dropout(0.0)(values).equal(values)
    assert torch.get_rng_state().equal(state)
    assert not Dropout(0.5)(values).equal(values)


@pytest.fixture(params=["GPT-2", "BERT"])
def stack_and_plain(
    request: pytest.FixtureRequest, make_backbone: Callable[..., Backbone], encoder_tokenizer: Tokenizer
) -> tuple[TransformerStack, PreTrainedModel]:
    """A stack with dropout, and transformers' own model with the same configuration."""
    if request.param == "GPT-2":
        backbone = make_backbone(dropout=0.25)
        return backbone, GPT2LMHeadModel(backbone.model.config)
    encoder = build_encoder(EncoderSpec(layers=2, width=16, heads=2, positions=64, dropout=0.25), encoder_tokenizer)
    return encoder, BertModel(encoder.model.config)


def test_every_dropout_module_is_replaced(
    stack_and_plain: tuple[TransformerStack, PreTrainedModel],
) -> None:
    """BART has no such module: its blocks call torch's function."""
    stack, plain = stack_and_plain
    ours, theirs = (
        {name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
        for model in (stack.model, plain)
    )
    assert ours.keys() == theirs.keys() != set()
    for name, module in ours.items():
        assert type(module) is Dropout
        assert module.p == theirs[name].p == 0.25


def test_bart_has_no_dropout_module(make_backbone: Callable[..., Backbone]) -> None:
    backbone = make_backbone(kind="encoder-decoder", dropout=0.25)
    assert not any(isinstance(module, nn.Dropout) for module in backbone.modules())

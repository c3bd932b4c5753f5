"""Linear maps of float32: values and gradients against float64, and the maps that stay as torch computes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from bench.backbones import linear
from bench.backbones.linear import FEWEST_ROWS, SMALLEST_WIDTHS
from bench.backbones.models import FastConv1D, use_fast_linear

NARROW, WIDE = SMALLEST_WIDTHS
kernels = pytest.mark.skipif(not linear._has_kernels(), reason="without AVX-512, oneDNN is not used")

LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": nn.Linear,
    "without bias": lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False),
    "of GPT-2": lambda inputs, outputs: Conv1D(outputs, inputs),
}


def values_and_gradients(layer: nn.Module, values: Tensor, direction: Tensor) -> list[Tensor]:
    """Returns a layer's output, and the gradients of its product with ``direction``: of the input and the weights."""
    values = values.clone().requires_grad_()
    output = layer(values)
    return [output.detach(), *torch.autograd.grad((output * direction).sum(), [values, *layer.parameters()])]


@kernels
@pytest.mark.parametrize("texts", [FEWEST_ROWS // 2, FEWEST_ROWS // 2 + 1, 3 * FEWEST_ROWS])
@pytest.mark.parametrize(("inputs", "outputs"), [(NARROW, WIDE), (WIDE, NARROW), (WIDE + 1, WIDE)])
@pytest.mark.parametrize("kind", LAYERS)
def test_values_and_gradients_are_those_of_float64(kind: str, inputs: int, outputs: int, texts: int) -> None:
    """A product sums at most 1,536 terms, whose rounding in float32 is below 1e-5 of the largest sum."""
    torch.manual_seed(0)
    layer = nn.Sequential(LAYERS[kind](inputs, outputs))
    values, direction = torch.randn(texts, 2, inputs), torch.randn(texts, 2, outputs)
    use_fast_linear(layer)
    ours = values_and_gradients(layer, values, direction)
    exact = values_and_gradients(layer.double(), values.double(), direction.double())
    for fast, double in zip(ours, exact, strict=True):
        assert fast.dtype == torch.float32
        torch.testing.assert_close(fast.double(), double, rtol=0, atol=1e-5 * float(double.abs().max()))


@kernels
@pytest.mark.parametrize("kind", LAYERS)
def test_only_gradients_that_are_needed(kind: str) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(LAYERS[kind](NARROW, WIDE)).requires_grad_(False)
    use_fast_linear(layer)
    values = torch.randn(FEWEST_ROWS, NARROW, requires_grad=True)
    output = layer(values)
    assert type(output.grad_fn).__name__ != "AddmmBackward0"  # oneDNN's way is the one that is tested
    output.sum().backward()
    assert values.grad is not None
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert not layer(values.detach()).requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", LAYERS)
def test_other_maps_are_those_of_torch(kind: str, dtype: torch.dtype) -> None:
    """Few rows, as in generation, and double precision."""
    layer = nn.Sequential(LAYERS[kind](NARROW, WIDE)).to(dtype)
    rows = FEWEST_ROWS - 1 if dtype == torch.float32 else 2 * FEWEST_ROWS
    values = torch.randn(rows, NARROW, dtype=dtype)
    plain = layer(values)
    use_fast_linear(layer)
    torch.testing.assert_close(layer(values), plain, rtol=1e-6, atol=1e-6)


@kernels
def test_autocast_stays() -> None:
    layer = nn.Sequential(nn.Linear(NARROW, WIDE))
    use_fast_linear(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(FEWEST_ROWS, NARROW)).dtype == torch.bfloat16


def test_weights_keep_names_and_ties() -> None:
    model = nn.ModuleDict({"head": nn.Linear(4, 4), "layer": Conv1D(3, 4), "embedding": nn.Embedding(4, 4)})
    model["head"].weight = model["embedding"].weight
    names = list(model.state_dict())
    use_fast_linear(model)
    assert list(model.state_dict()) == names
    assert model["head"].weight is model["embedding"].weight
    assert {type(model["head"]), type(model["layer"])} == {linear.Linear, FastConv1D}

"""Linear maps of float32 by oneDNN on CPUs with AVX-512, where the library that torch uses may run at half speed.

torch multiplies float32 matrices on the CPU with MKL, which uses AVX-512 on processors of one vendor only.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

FEWEST_ROWS = 256
SMALLEST_WIDTHS = (64, 128)
"""The smaller and the larger width of a map from which oneDNN is faster, its overhead included."""

ROWS_AT_ONCE = 64
"""oneDNN builds a kernel for each number of rows, so numbers of rows are rounded up to a multiple of this."""


def pays(values: Tensor, weight: Tensor) -> bool:
    """Returns whether oneDNN multiplies these values (... x inputs) by this weight, in either order of its axes."""
    narrow, wide = sorted(weight.shape)
    return (
        values.dtype == weight.dtype == torch.float32
        and values.device.type == "cpu"
        and values.numel() >= FEWEST_ROWS * values.shape[-1]
        and narrow >= SMALLEST_WIDTHS[0]
        and wide >= SMALLEST_WIDTHS[1]
        and _has_kernels()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _has_kernels() -> bool:
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns values (... x inputs) @ weight (inputs x outputs) + bias (outputs), by oneDNN."""
    rows = cast(Tensor, _Linear.apply(values.reshape(-1, values.shape[-1]), weight, bias))  # type: ignore[no-untyped-call]
    return rows.view(*values.shape[:-1], weight.shape[1])


class _Linear(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padded = _padded(values)
        ctx.save_for_backward(padded, weight)
        return _product(padded, weight.T, bias)[: len(values)]

    @staticmethod
    @override
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,), (values, weight) = gradients, ctx.saved_tensors
        needs_values, needs_weight, needs_bias = ctx.needs_input_grad
        padded = _padded(gradient)
        of_weight = None
        if needs_weight:
            # The left factor is copied to be transposed: the narrower one.
            if weight.shape[0] <= weight.shape[1]:
                of_weight = _product(values.T.contiguous(), padded.T)
            else:
                of_weight = _product(padded.T.contiguous(), values.T).T
        return (
            _product(padded, weight)[: len(gradient)] if needs_values else None,
            of_weight,
            gradient.sum(0) if needs_bias else None,
        )


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns left (N x K) times the transpose of right (M x K), plus bias (M); ``left`` is contiguous."""
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], ""))


def _padded(rows: Tensor) -> Tensor:
    """Returns the rows, contiguous, with zeros behind them up to a multiple of ``ROWS_AT_ONCE``."""
    missing = -len(rows) % ROWS_AT_ONCE
    return nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows.contiguous()


class Linear(nn.Linear):
    """torch's linear map, by oneDNN where that pays."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        fast = pays(input, self.weight)
        return linear(input, self.weight.T, self.bias) if fast else super().forward(input)

"""Expectations of checks; a failure says what was expected and what was seen."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

SINGLE_PRECISION = 1e-4
"""Relative differences below this are typical of rounding in single precision."""


class ConformanceError(AssertionError):
    """A system breaks a promise of the contract."""


class Inconclusive(Exception):  # noqa: N818  # not an error
    """A check gives no answer for a system; the message says why."""


DOUBLE_PRECISION = (
    "This check runs in double precision: every parameter is float64, and so is the default dtype. A `.float()` or a"
    " float32 constant inside the system shows here; use the dtype of the weights instead."
)


def expect(condition: bool, expected: str, seen: str, difference: float = math.inf) -> None:
    """Raises ``ConformanceError`` unless the condition holds; ``difference`` is relative, if numbers were compared."""
    if not condition:
        single = difference <= SINGLE_PRECISION and torch.get_default_dtype() == torch.float64
        raise ConformanceError(f"Expected {expected}; saw {seen}.{f' {DOUBLE_PRECISION}' if single else ''}")


def expect_shape(what: str, tensor: Tensor, shape: Iterable[int]) -> None:
    """Expects a tensor of a shape, all of its entries finite."""
    expect(tuple(tensor.shape) == tuple(shape), f"{what} of shape {tuple(shape)}", f"{tuple(tensor.shape)}")
    expect(bool(tensor.isfinite().all()), f"finite {what}", f"{_count(~tensor.isfinite(), tensor)} infinite or NaN")


def expect_close(
    what: str, actual: Tensor, expected: Tensor, axes: tuple[str, ...], absolute: float, relative: float = 0.0
) -> None:
    """Expects two tensors to agree.

    Args:
        what: the quantity and what it should equal.
        actual: the tensor under test.
        expected: its expected value.
        axes: names of the axes, to report the place of the largest difference.
        absolute: absolute tolerance.
        relative: relative tolerance, added to the absolute one.
    """
    expect_shape(what, actual, expected.shape)
    excess = (actual - expected).abs() - absolute - relative * expected.abs()
    if bool((excess > 0).any()):
        place = torch.unravel_index(excess.argmax(), excess.shape)
        where = "".join(f", {axis} {int(index)}" for axis, index in zip(axes, place, strict=True))
        seen = f"{float(actual[place]):.9g} for {float(expected[place]):.9g}{where}"
        bound = absolute + relative * float(expected[place].abs())
        difference = float(((actual - expected).abs() / (1 + expected.abs())).max())
        expect(False, f"{what}, to {bound:.2g}", f"{seen} ({_count(excess > 0, excess)} differ)", difference)


def _count(mask: Tensor, tensor: Tensor) -> str:
    return f"{int(mask.sum())} of {tensor.numel()}"

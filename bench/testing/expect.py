"""How a check says that something is not as it should be: what was expected, and what was seen instead."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class ConformanceError(AssertionError):
    """A system does not keep the contract."""


class NotChecked(Exception):  # noqa: N818  # no error
    """A check cannot tell anything about this system, for the reason given."""


def expect(condition: bool, expected: str, seen: str) -> None:
    """Goes on if the condition holds.

    Raises:
        ConformanceError: it does not.
    """
    if not condition:
        raise ConformanceError(f"Expected {expected}; saw {seen}.")


def expect_shape(what: str, found: Tensor, shape: Iterable[int]) -> None:
    """Expects a tensor of the given shape with finite entries only."""
    expect(tuple(found.shape) == tuple(shape), f"{what} of shape {tuple(shape)}", f"{tuple(found.shape)}")
    expect(bool(found.isfinite().all()), f"finite {what}", f"{_count(~found.isfinite(), found)} infinite or no number")


def expect_close(
    what: str, found: Tensor, expected: Tensor, axes: tuple[str, ...], absolute: float, relative: float = 0.0
) -> None:
    """Expects two tensors to agree.

    Args:
        what: the quantity, and what it should be equal to.
        found: the tensor under test.
        expected: what it should be.
        axes: what the axes count, for the place of the largest difference.
        absolute: largest difference allowed.
        relative: allowed besides, as a part of the expected value.
    """
    expect_shape(what, found, expected.shape)
    excess = (found - expected).abs() - absolute - relative * expected.abs()
    if bool((excess > 0).any()):
        place = torch.unravel_index(excess.argmax(), excess.shape)
        where = "".join(f", {axis} {int(index)}" for axis, index in zip(axes, place, strict=True))
        seen = f"{float(found[place]):.9g} for {float(expected[place]):.9g}{where}"
        raise ConformanceError(f"Expected {what}, to {absolute:g}; saw {seen} ({_count(excess > 0, excess)} differ).")


def _count(some: Tensor, of: Tensor) -> str:
    return f"{int(some.sum())} of {of.numel()}"

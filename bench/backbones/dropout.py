"""Dropout that is fast on a CPU, where torch's own takes a fifth of a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

STEPS = 2**16
"""On a CPU, a probability of dropout is rounded to a multiple of 1 / STEPS."""


def drop(values: Tensor, p: float) -> Tensor:
    """Sets values to zero with probability ``p``, below 1, and scales the others up by 1 / (1 - p).

    On a CPU torch draws a 64-bit number for every value; here four values share one. Compiled code uses torch's
    dropout, because this function would split the compiled kernel.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return nn.functional.dropout(values, p)
    steps = min(round(p * STEPS), STEPS - 1)
    numbers = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = numbers.view(torch.int16)[: values.numel()].view(values.shape) >= steps - STEPS // 2
    return values * kept.to(values.dtype).mul_(STEPS / (STEPS - steps))


class Dropout(nn.Dropout):
    """Dropout by ``drop``."""

    @override
    def forward(self, values: Tensor) -> Tensor:
        return drop(values, self.p) if self.training and self.p else values


def use_fast_dropout(model: nn.Module) -> None:
    """Replaces every ``nn.Dropout`` in a model."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p))

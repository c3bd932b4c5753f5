"""The precision of training and scoring."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from bench.specs import Precision


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Returns whether a run autocasts to bf16: where asked for, or by itself on GPUs that have it."""
    automatic = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16" or (precision == "auto" and automatic)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the autocast context of a run."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(precision, device))

"""Weights that tell terms apart."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_weights(network: nn.Module) -> None:
    """Moves every weight away from where it begins: small, zero or one in places, it would hide a term left out."""
    for parameter in network.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))

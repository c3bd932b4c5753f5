"""Low-rank adapters of attention projections, W + 2 B A with W frozen (LoRA, Hu et al. 2022), by peft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError

NAME = "default"
"""That of peft for the only adapter of a model."""


def add_adapters(model: nn.Module, rank: int, projections: Sequence[str]) -> None:
    """Gives the projections of a model adapters that are zero at first, and freezes all other weights.

    Args:
        model: a model of transformers, with its weights.
        rank: of the adapters.
        projections: the ends of the names of the projections.

    Raises:
        BenchError: peft is not installed.
    """
    from transformers.pytorch_utils import Conv1D

    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise BenchError("backbone.lora_rank needs the package peft: pip install 'della-bench[lora]'.") from None
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=list(projections), fan_in_fan_out=transposed, bias="none"
    )
    inject_adapter_in_model(config, model, NAME)


def with_adapters(block: nn.Module, merged: Mapping[str, Tensor], value_map: Tensor) -> dict[str, Tensor]:
    """Returns the weights of a value projection followed by a value map, its adapter included: V (W + B A) x.

    Args:
        block: the block of the projection.
        merged: the weights without adapter, by their names in a block without adapters.
        value_map: V (value width x value width); the values are the last outputs of the projection.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in merged.items():
        path, _, kind = name.rpartition(".")
        if not hasattr(block.get_submodule(path), "lora_B"):
            weights[name] = tensor
            continue
        weights[f"{path}.base_layer.{kind}"] = tensor
        if kind == "weight":
            adapter = f"{path}.lora_B.{NAME}.weight"
            others, values = block.get_parameter(adapter).tensor_split([-len(value_map)])
            weights[adapter] = torch.cat([others, value_map @ values])
    return weights

"""The weights of a system: as tensors by name, and as a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.errors import BenchError
from bench.reading import read_bytes
from bench.storage import atomic_write

WEIGHTS = "model.safetensors"
"""Name of the weights file in a model folder."""


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Returns every parameter and buffer once; tied ones have the first of their names."""
    return {
        **{name: parameter.detach().contiguous() for name, parameter in module.named_parameters()},
        **{name: buffer.contiguous() for name, buffer in module.named_buffers()},
    }


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes the weights of a module.

    Raises:
        BenchError: the file cannot be written.
    """
    atomic_write(path, save(weights(module)))


def load_weights(module: nn.Module, path: Path) -> None:
    """Reads the file that ``save_weights`` wrote for a module of the same structure.

    Raises:
        BenchError: the file is damaged, or its names or shapes differ from those of the module.
    """
    try:
        tensors = load(read_bytes(path))
    except SafetensorError as error:
        raise BenchError(f"{path}: damaged: {error}") from error
    set_weights(module, tensors, path)


def set_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Gives a module the weights and buffers ``tensors``, which were read from ``path``.

    Raises:
        BenchError: their names or shapes differ from those of the module.
    """
    stored, expected = ({(name, value.shape) for name, value in group.items()} for group in (tensors, weights(module)))
    if different := sorted({name for name, _ in stored ^ expected}):
        raise BenchError(f"{path}: weights of another system ({len(different)} differ, first {different[0]!r}).")
    module.load_state_dict(dict(tensors), strict=False)  # tied weights are stored once

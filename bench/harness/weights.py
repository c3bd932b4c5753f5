"""The weights of a system: as tensors by name, and as a safetensors file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from bench.errors import BenchError
from bench.reading import read_bytes
from bench.storage import damaged

WEIGHTS = "model.safetensors"
"""Name of the weights file in a model folder."""


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Returns every parameter and buffer once; tied ones have the first of their names."""
    return {
        **{name: parameter.detach().contiguous() for name, parameter in module.named_parameters()},
        **{name: buffer.contiguous() for name, buffer in module.named_buffers()},
    }


def load_weights(module: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Reads the weights of a module of the same structure.

    Args:
        module: receives the weights.
        path: a safetensors file of ``weights``.
        sha256: of the file, in hex, if it is known.

    Raises:
        BenchError: the file is damaged, or its names or shapes differ from those of the module.
    """
    content = read_bytes(path, None)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise damaged(path)
    try:
        tensors = load(content)
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

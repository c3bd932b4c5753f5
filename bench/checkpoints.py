"""Checkpoints of other code: their tensors by name. An importer accounts for every tensor."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import BenchError

Shapes = dict[str, tuple[int, ...]]
"""Shapes of tensors by name."""


class _Ignored:
    """Stands for an object of a checkpoint that is no tensor; it keeps nothing."""

    def __new__(cls, *_: object) -> _Ignored:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


IGNORED = ("argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
"""Classes and functions of the arguments and step counts that training scripts store beside the tensors.

`_Ignored` replaces them, so they are not called either.
"""


def read_tensors(path: Path, entry: str | None = None) -> dict[str, Tensor]:
    """Returns the tensors of a state dict, by name.

    Args:
        path: the file that ``torch.save`` wrote; nothing in it is executed.
        entry: key of the state dict, if the file holds more.

    Raises:
        BenchError: the file cannot be read without executing code in it, holds no state dict, or a tensor repeats its
            values, whose copy could fill the memory.
    """
    try:
        _check_stored(path)
        with torch.serialization.safe_globals([(_Ignored, name) for name in IGNORED]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except BenchError:
        raise
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}.") from None
    except Exception:  # noqa: BLE001  # a damaged pickle makes torch raise nearly everything
        raise BenchError(f"{path}: damaged, or no state dict that can be read without executing it.") from None
    if entry is not None:
        if not isinstance(content, Mapping) or entry not in content:
            raise BenchError(f"{path}: no checkpoint of this code: it lacks {entry!r}.")
        content = content[entry]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BenchError(f"{path}: no state dict: expected tensors by name, got {type(content).__name__}.")
    for name, tensor in content.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise BenchError(f"{path}: {name!r} is no plain tensor.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise BenchError(f"{path}: {name!r} has more values than the file stores for it.")
    return {str(name): tensor for name, tensor in content.items()}


def _check_stored(path: Path) -> None:
    """Refuses an archive with compressed members, which torch never writes: they could fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise BenchError(f"{path}: compressed inside, which no checkpoint is.")


def read_sizes(tensors: Mapping[str, Tensor], names: Iterable[str], code: str, where: Path) -> list[tuple[int, int]]:
    """Returns the shapes of matrices.

    Raises:
        BenchError: one is missing or no matrix, so the file is no checkpoint of this ``code``.
    """
    matrices = {name: tensor.shape for name, tensor in tensors.items() if tensor.dim() == 2}
    for name in names:
        if name not in matrices:
            raise BenchError(f"{where}: no checkpoint of the released {code} code: it lacks {name!r}.")
    return [(matrices[name][0], matrices[name][1]) for name in names]


def number_of(names: Iterable[str], pattern: str) -> int:
    """Returns one more than the largest number that ``pattern`` matches at the start of a name; 1 if there is none.

    If numbers below it are missing, returns at most one more than there are numbers: the first that is missing is among
    them, and a name such as ``h.999999999`` costs no memory.
    """
    numbers = {match[1] for name in names if (match := re.match(pattern, name))}
    return max(1, min(len(numbers) + 1, max((int(number[:9]) + 1 for number in numbers), default=1)))


def check_tensors(
    tensors: Mapping[str, Tensor],
    required: Mapping[str, tuple[int, ...]],
    optional: Collection[str],
    copies: Mapping[str, str],
    model: str,
    where: Path,
) -> None:
    """Accounts for every tensor of a checkpoint.

    Args:
        tensors: of the checkpoint.
        required: shapes of the tensors that it must have.
        optional: names of tensors that are not imported.
        copies: names of tensors that it may have, with the names of the required tensors that they equal.
        model: with its article, for messages.
        where: the file.

    Raises:
        BenchError: a tensor is missing, unknown, of the wrong shape, or different from the one that it copies.
    """
    for problem, names in (
        ("lacks", [name for name in required if name not in tensors]),
        (f"has more than {model} of these sizes:", sorted(tensors.keys() - {*required, *optional, *copies})),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise BenchError(f"{where}: the checkpoint {problem} {names[0]!r}{more}.")
    for name, shape in required.items():
        if not tensors[name].is_floating_point():
            raise BenchError(f"{where}: {name!r} holds {tensors[name].dtype}, no floating-point numbers.")
        if tensors[name].shape != shape:
            actual = tuple(tensors[name].shape)
            raise BenchError(f"{where}: {name!r} has shape {actual}; with the other tensors it would be {shape}.")
    for copy, original in copies.items():
        if copy in tensors and not torch.equal(tensors[copy], tensors[original]):
            raise BenchError(f"{where}: {copy!r} differs from {original!r}, which it shares.")


def gpt2_shapes(layers: int, width: int, positions: int, vocabulary: int) -> Shapes:
    """Returns name and shape of the tensors of GPT-2's stack; matrices of blocks are inputs x outputs."""
    shapes: Shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (positions, width)}
    modules: Shapes = {"ln_1": (width,), "attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
    modules |= {"ln_2": (width,), "mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
    for block in (f"h.{number}" for number in range(layers)):
        for module, shape in modules.items():
            shapes |= {f"{block}.{module}.weight": shape, f"{block}.{module}.bias": shape[-1:]}
    return {**shapes, "ln_f.weight": (width,), "ln_f.bias": (width,)}


def gpt2_masks(layers: int) -> set[str]:
    """Returns the names of the buffers of GPT-2's stack: the causal mask, and the score of a masked position."""
    return {f"h.{number}.attn.{buffer}" for number in range(layers) for buffer in ("bias", "masked_bias")}


def check_heads(heads: int | None, width: int, where: Path) -> int:
    """Returns the number of attention heads, which no state dict contains.

    Raises:
        BenchError: it is not given, or does not divide the width.
    """
    if heads is None:
        raise BenchError(f"{where}: a state dict does not contain the number of attention heads; name it (--heads).")
    if width % heads:
        raise BenchError(f"{where}: {heads} heads do not divide a width of {width}; name another number.")
    return heads

"""Pretrained weights: each weight that a model needs is in its file, or the error names it.

Without these checks transformers draws what is missing at random, and reports that on standard error only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging

from bench.errors import BenchError, first_line


def load_pretrained(
    model_class: Any, where: str | Path, options: Mapping[str, Any], unused: tuple[str, ...] = ()
) -> Any:
    """Returns a model with pretrained weights, in float32.

    Args:
        model_class: class or auto class of transformers.
        where: folder, or name on the hub.
        options: of ``from_pretrained``.
        unused: beginnings of the names of weights that are never used, which may be missing.

    Raises:
        BenchError: a weight is missing or has a wrong shape; the first one is named.
    """
    with _without_messages():
        model, info = model_class.from_pretrained(
            where,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # an error would be a page of text
            **options,
        )
    _check_complete(model, where, {name for name in info["missing_keys"] if not name.startswith(unused)})
    for name, shape, needed in sorted(info["mismatched_keys"]):
        raise BenchError(f"{where}: weight {name!r} has the shape {tuple(shape)}; the model needs {tuple(needed)}.")
    return model


def _check_complete(model: PreTrainedModel, where: str | Path, missing: set[str]) -> None:
    if missing:
        first = next((name for name in model.state_dict() if name in missing), min(missing))
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BenchError(f"{where}: the weights lack {first!r}{more}, which the model needs.")


@contextmanager
def errors_in_one_line(part: str, where: str | Path) -> Iterator[None]:
    """Turns the errors of transformers for files that it cannot use into a BenchError of one line."""
    try:
        yield
    except BenchError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, RecursionError, SafetensorError) as error:
        raise BenchError(f"cannot load the {part} from {where}: {first_line(error)}") from error


@contextmanager
def _without_messages() -> Iterator[None]:
    """Switches off progress bars and the report of transformers on missing weights."""
    progress_bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress_bar:
            logging.enable_progress_bar()

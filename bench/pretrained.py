"""Pretrained weights: each weight that a model needs is in its file, or the error names it.

Without these checks transformers draws what is missing at random, and reports that on standard error only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from bench.errors import BenchError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    if _WITHOUT_WEIGHTS.get():
        settings = config_settings(where, options.get("revision"))
        return model_class(model_class.config_class.from_dict({**settings, **options}))
    options = {**options, **access(where)}
    if Path(where).is_dir():
        _check_sizes(model_class, where)
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
    _check_all_used(model, where, info["unexpected_keys"])
    for name, shape, needed in sorted(info["mismatched_keys"]):
        raise BenchError(f"{where}: weight {name!r} has the shape {tuple(shape)}; the model needs {tuple(needed)}.")
    return model


def access(where: str | Path) -> dict[str, bool]:
    """Returns the options of ``from_pretrained`` that keep it from running code, and from the hub if that is not meant.

    Files of a folder can name code to run, and other names on the hub.
    """
    return {"trust_remote_code": False, "local_files_only": _WITHOUT_HUB.get() or Path(where).is_dir()}


_WITHOUT_HUB: ContextVar[bool] = ContextVar("without_hub", default=False)


@contextmanager
def without_hub() -> Iterator[None]:
    """Loads from the hub only what was downloaded before, while the context lasts: a file of others names the model."""
    token = _WITHOUT_HUB.set(True)
    try:
        yield
    finally:
        _WITHOUT_HUB.reset(token)


PUBLIC_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "openai-community/gpt2": {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257},
    "openai-community/gpt2-medium": {
        "model_type": "gpt2",
        "n_layer": 24,
        "n_embd": 1024,
        "n_head": 16,
        "vocab_size": 50257,
    },
    "openai-community/gpt2-large": {
        "model_type": "gpt2",
        "n_layer": 36,
        "n_embd": 1280,
        "n_head": 20,
        "vocab_size": 50257,
    },
    "facebook/bart-base": {
        "model_type": "bart",
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "vocab_size": 50265,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
    },
    "google-bert/bert-base-cased": {
        "model_type": "bert",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "vocab_size": 28996,
    },
}
"""Of models on the hub, what decides their sizes; other entries are the defaults of their class."""


@cache
def public_size(name: str) -> int:
    """Returns the bytes of the weights of a model of ``PUBLIC_SETTINGS`` in float32, without heads."""
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(**PUBLIC_SETTINGS[name]))
    return 4 * sum(parameter.numel() for parameter in model.parameters())


_WITHOUT_WEIGHTS: ContextVar[bool] = ContextVar("without_weights", default=False)


@contextmanager
def without_weights() -> Iterator[None]:
    """Builds models with random weights in place of pretrained ones while the context lasts.

    Those of ``PUBLIC_SETTINGS`` then need no network.
    """
    token = _WITHOUT_WEIGHTS.set(True)
    try:
        yield
    finally:
        _WITHOUT_WEIGHTS.reset(token)


def config_settings(where: str | Path, revision: str | None) -> dict[str, Any]:
    """Returns what ``config.json`` of a folder, or of a name on the hub, holds."""
    if _WITHOUT_WEIGHTS.get() and str(where) in PUBLIC_SETTINGS:
        return dict(PUBLIC_SETTINGS[str(where)])
    from transformers import PreTrainedConfig

    settings, _ = PreTrainedConfig.get_config_dict(where, revision=revision, **access(where))
    return dict(settings)


def count_weights(folder: str | Path) -> tuple[int, int]:
    """Returns the number of tensors in the weights of a folder, and of their elements.

    Raises:
        SafetensorError: a file is damaged.
    """
    tensors = elements = 0
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a mapping
                tensors, elements = tensors + 1, elements + math.prod(file.get_slice(name).get_shape())
    return tensors, elements


def _check_sizes(model_class: Any, where: str | Path) -> None:
    """Refuses sizes in config.json that would take hours or all memory, and that the weights cannot have.

    A model may lack half of its weights: that error is left to the names of the weights.
    """
    from transformers import AutoConfig

    tensors, elements = count_weights(where)
    config = getattr(model_class, "config_class", AutoConfig).from_pretrained(where, **access(where))
    for name in ("num_hidden_layers", "encoder_layers", "decoder_layers"):
        if not 1 <= (layers := getattr(config, name, 1)) <= tensors:
            raise BenchError(f"{where}: config.json names {layers} layers, but the weights are {tensors} tensors.")
    with torch.device("meta"):
        model = getattr(model_class, "from_config", model_class)(config)
    needed = sum(parameter.numel() for parameter in model.parameters())
    if needed > 2 * elements:
        raise BenchError(f"{where}: config.json needs {needed} weights, and the folder has {elements}.")


def _check_complete(model: PreTrainedModel, where: str | Path, missing: set[str]) -> None:
    if missing:
        first = next((name for name in model.state_dict() if name in missing), min(missing))
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BenchError(f"{where}: the weights lack {first!r}{more}, which the model needs.")


def _check_all_used(model: PreTrainedModel, where: str | Path, unexpected: set[str]) -> None:
    """Refuses weights of blocks that the model has not, because its settings name fewer of them than its file holds.

    Other weights may be left over: the heads of the tasks that a model was trained on.
    """
    kinds = [f".{_without_numbers(name)}" for name in model.state_dict()]
    left_over = (name for name in sorted(unexpected, key=_numbers_as_numbers) if _NUMBER.search(name))
    for name in left_over:
        kind = f".{_without_numbers(name)}"
        if any(kind.endswith(known) or known.endswith(kind) for known in kinds):
            raise BenchError(f"{where}: the weights hold {name!r}, which the model of config.json does not have.")


_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""The number of a block in the name of a weight."""


def _without_numbers(name: str) -> str:
    return _NUMBER.sub("#", name)


def _numbers_as_numbers(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


@contextmanager
def errors_in_one_line(part: str, where: str | Path) -> Iterator[None]:
    """Turns the errors of transformers for files that it cannot use into a BenchError of one line."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # transformers expects that its files are valid
        raise BenchError(f"cannot load the {part} from {where}: {first_line(error)}") from error


@contextmanager
def _without_messages() -> Iterator[None]:
    """Switches off progress bars and the report of transformers on missing weights."""
    from transformers.utils import logging

    progress_bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress_bar:
            logging.enable_progress_bar()

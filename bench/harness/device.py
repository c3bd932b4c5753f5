"""The device of a run."""

from __future__ import annotations

import logging
from functools import cache

import torch

from bench.errors import BenchError, unknown_name

DEVICES = ("cpu", "cuda")

logger = logging.getLogger(__name__)


def choose_device(name: str | None = None) -> torch.device:
    """Returns a device by its name in torch; by default the GPU if there is one.

    Apple's GPU (``mps``) is not used: it has no float64, in which the terms of a text are summed on the device.

    Raises:
        BenchError: the device is not one of ``DEVICES``.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            _tell_why_not_mps()
        return torch.device("cpu")
    kind = name.partition(":")[0]
    if kind == "mps":
        raise BenchError(f"device {name!r}: Apple's GPU has no float64, in which terms are summed; use cpu.")
    if kind not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    return torch.device(name)


@cache
def _tell_why_not_mps() -> None:
    logger.warning("runs on the CPU: Apple's GPU (mps) has no float64, in which terms are summed")

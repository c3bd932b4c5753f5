"""Where a number comes from: machine, versions, commit, digests, and the time and memory it took."""

from __future__ import annotations

import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

import bench
from bench.records.schema import Environment, Timing


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.timings: list[Timing] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what happens inside."""
        start = time.perf_counter()
        yield
        self.timings.append(Timing(phase=name, seconds=time.perf_counter() - start))


def environment(device: torch.device, precision: str) -> Environment:
    """Returns the machine and the versions that may move a number in its last digits."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        precision=precision,
        torch=torch.__version__,
        transformers=transformers.__version__,
    )


def peak_memory(device: torch.device) -> int:
    """Returns the most bytes held so far: by this process, or on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def commit() -> dict[str, Any]:
    """Returns the commit of the checkout this package runs from, or nothing for an installed one."""
    root = Path(bench.__file__).parents[1]
    if not (root / ".git").exists():
        return {}

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
        return done.stdout.strip()

    return {"commit": git("rev-parse", "HEAD") or None, "dirty": bool(git("status", "--porcelain", "-uno"))}

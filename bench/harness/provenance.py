"""The circumstances of a run: machine, versions, commit, time and memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch

import bench
from bench.records.schema import Environment, Timing


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.timings: list[Timing] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures the time of the block; the blocks of a phase add up."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        for number, timing in enumerate(self.timings):
            if timing.phase == name:
                self.timings[number] = Timing(phase=name, seconds=timing.seconds + seconds)
                return
        self.timings.append(Timing(phase=name, seconds=seconds))


def environment(device: torch.device, precision: str) -> Environment:
    """Returns the machine and the versions that can change the last digits of a number."""
    import transformers

    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        precision=precision,
        torch=torch.__version__,
        transformers=transformers.__version__,
        processor=_processor(),
        instruction_set=torch.backends.cpu.get_cpu_capability(),
    )


def _processor() -> str | None:
    """Returns the name of the processor; Linux tells it only in a file."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(filter(None, names), platform.processor() or None)
    return platform.processor() or None


def peak_memory(device: torch.device) -> int:
    """Returns the largest number of bytes in use so far, by this process or on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Commit(NamedTuple):
    """The git commit of a checkout, and whether its working tree differs from the commit; None if not known."""

    sha: str | None
    dirty: bool | None


def commit() -> Commit:
    """Returns the commit of the checkout that this package runs from; nothing is known of an installed package."""
    root = Path(bench.__file__).parents[1]
    if not (root / ".git").exists():
        return Commit(None, None)

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
        return done.stdout.strip()

    return Commit(git("rev-parse", "HEAD") or None, bool(git("status", "--porcelain", "-uno")))

"""What takes time to compute and is always the same: arrays in files, shared by runs and processes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.identity import digest
from bench.storage import file_sha256

logger = logging.getLogger(__name__)

AnyArray = npt.NDArray[Any]

DIGESTS = "sha256.json"
"""Beside the arrays of an entry: SHA-256 of each file, by the name of its array."""


def cache_folder() -> Path | None:
    """Returns where arrays are kept, or None where ``$DELLA_BENCH_CACHE`` is set to nothing or nobody is at home.

    That is ``$DELLA_BENCH_CACHE``, else ``$XDG_CACHE_HOME/della-bench``, else ``~/.cache/della-bench``.
    """
    if (named := os.environ.get("DELLA_BENCH_CACHE")) is not None:
        return Path(named) if named else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "della-bench"
    except RuntimeError:  # a user without a home, as in many containers
        return None


def cached_arrays(
    kind: str, content: Mapping[str, Any], compute: Callable[[], Mapping[str, AnyArray]]
) -> Mapping[str, AnyArray]:
    """Returns arrays by name: as they were kept, memory-mapped, or computed and then kept.

    What is kept is read only if all of it is as it was written. Where it cannot be written, nothing is lost but time.

    Args:
        kind: of arrays; begins the name of their folder.
        content: all that decides them, as JSON.
        compute: makes them.
    """
    folder = cache_folder()
    if folder is None:
        return compute()
    entry = folder / f"{kind}-{digest(content)[:32]}"
    if (kept := _read(entry)) is not None:
        return kept
    computed = compute()
    _keep(entry, computed)
    return computed


def _read(entry: Path) -> dict[str, AnyArray] | None:
    """Returns what is kept, or None if it is not there or damaged."""
    try:
        digests = json.loads((entry / DIGESTS).read_bytes())
        files = {name: entry / f"{name}.npy" for name in digests}
        if not files or any(file_sha256(file) != digests[name] for name, file in files.items()):
            return None
        # As plain arrays, since slices of a `memmap` take several times as long.
        return {name: np.load(file, mmap_mode="r").view(np.ndarray) for name, file in files.items()}
    except (OSError, ValueError, TypeError):
        return None


def _keep(entry: Path, arrays: Mapping[str, AnyArray]) -> None:
    """Writes arrays where they are found again, all or none, unless another process was first."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{entry.name}.", dir=entry.parent) as scratch:
            made = Path(scratch, "made")
            made.mkdir()
            digests = {}
            for name, array in arrays.items():
                # Not straight into the file: there numpy overlooks a disk that is full.
                content = BytesIO()
                np.save(content, array, allow_pickle=False)
                (made / f"{name}.npy").write_bytes(content.getbuffer())
                digests[name] = hashlib.sha256(content.getbuffer()).hexdigest()
            (made / DIGESTS).write_text(json.dumps(digests))
            if entry.exists() and _read(entry) is None:
                entry.rename(Path(scratch, "damaged"))
            made.rename(entry)
    except OSError as error:
        logger.info("%s is not kept: %s", entry, error)

"""Cached arrays in files, shared by runs and processes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.identity import digest
from bench.storage import ABANDONED_AFTER, file_sha256

logger = logging.getLogger(__name__)

AnyArray = npt.NDArray[Any]

DIGESTS = "sha256.json"
"""Beside the arrays of an entry: SHA-256 of each file, by the name of its array."""


_SCRATCH = re.compile(r"\.[a-z]+-[0-9a-f]{32}\..+")
"""Name of the temporary folder in which an entry is written."""


def cache_folder() -> Path | None:
    """Returns the folder of the cache, or None if ``$DELLA_BENCH_CACHE`` is empty or the user has no home.

    It is ``$DELLA_BENCH_CACHE``, else ``$XDG_CACHE_HOME/della-bench``, else ``~/.cache/della-bench``.
    """
    if (folder := os.environ.get("DELLA_BENCH_CACHE")) is not None:
        return Path(folder) if folder else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "della-bench"
    except RuntimeError:  # a user without a home, as in many containers
        return None


def cached_arrays(
    kind: str, content: Mapping[str, Any], compute: Callable[[], Mapping[str, AnyArray]]
) -> Mapping[str, AnyArray]:
    """Returns arrays by name: memory-mapped from the cache, or computed and then cached.

    A damaged entry of the cache is computed again. A cache that cannot be written costs only time.

    Args:
        kind: kind of the arrays, with which the name of their folder begins.
        content: everything that decides their values, as JSON.
        compute: computes the arrays.
    """
    folder = cache_folder()
    if folder is None:
        return compute()
    entry = folder / f"{kind}-{digest(content)[:32]}"
    if (arrays := _read(entry)) is not None:
        return arrays
    computed = compute()
    _write(entry, computed)
    return computed


def _read(entry: Path) -> dict[str, AnyArray] | None:
    """Returns the arrays of an entry, or None if it is missing or damaged."""
    try:
        digests = json.loads((entry / DIGESTS).read_bytes())
        files = {name: entry / f"{name}.npy" for name in digests}
        if not files or any(file_sha256(file) != digests[name] for name, file in files.items()):
            return None
        # As plain arrays, since slices of a `memmap` take several times as long.
        return {name: np.load(file, mmap_mode="r").view(np.ndarray) for name, file in files.items()}
    except (OSError, ValueError, TypeError):
        return None


def _write(entry: Path, arrays: Mapping[str, AnyArray]) -> None:
    """Writes the arrays of an entry, all or none, unless another process wrote it first."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(entry.parent)
        with TemporaryDirectory(prefix=f".{entry.name}.", dir=entry.parent) as scratch:
            complete = Path(scratch, "complete")
            complete.mkdir()
            digests = {}
            for name, array in arrays.items():
                # Through memory, since numpy does not notice a full disk when it writes a file.
                content = BytesIO()
                np.save(content, array, allow_pickle=False)
                (complete / f"{name}.npy").write_bytes(content.getbuffer())
                digests[name] = hashlib.sha256(content.getbuffer()).hexdigest()
            (complete / DIGESTS).write_text(json.dumps(digests))
            if entry.exists() and _read(entry) is None:
                entry.rename(Path(scratch, "damaged"))
            complete.rename(entry)
    except OSError as error:
        logger.info("%s is not cached: %s", entry, error)


def _remove_abandoned(folder: Path) -> None:
    """Removes the temporary folders of processes that were killed while they wrote an entry."""
    for scratch in folder.glob(".*"):
        if _SCRATCH.fullmatch(scratch.name):
            with suppress(OSError):  # another process removed it, or another user owns it
                if time.time() - scratch.stat().st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(scratch)

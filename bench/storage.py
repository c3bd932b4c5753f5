"""Files that are whole or not there, and the folder for what can be computed again."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from bench.errors import BenchError


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        BenchError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error


def atomic_write(path: Path, data: bytes) -> None:
    """Writes a file so that a reader finds the old content or the new one, whatever happens meanwhile.

    Raises:
        BenchError: the file cannot be written; what was there before is untouched.
    """
    atomic_write_all({path: data})


def atomic_write_all(files: Mapping[Path, bytes]) -> None:
    """Writes several files: all are on disk under temporary names before the first is renamed, in the given order.

    Raises:
        BenchError: one of them cannot be written; what was there before is untouched.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            with staged[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in staged.items():
            temporary.replace(path)
        for folder in {path.parent for path in files}:
            _sync_folder(folder)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes renames in ``folder`` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Returns where tokenizers and features are kept: ``$DELLA_BENCH_CACHE`` or ``~/.cache/della-bench``."""
    named = os.environ.get("DELLA_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "della-bench"

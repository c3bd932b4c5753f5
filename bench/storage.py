"""Writing files so that each is complete or absent."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from bench.errors import BenchError
from bench.reading import read_text, unreadable

ABANDONED_AFTER = 3600.0
"""Seconds after which a temporary file of another machine counts as abandoned."""


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hex.

    Raises:
        BenchError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def check_sha256(path: Path, expected: str) -> None:
    """Checks that a file holds what was written.

    Raises:
        BenchError: it has another SHA-256, in hex, than ``expected``, or cannot be read.
    """
    if file_sha256(path) != expected:
        raise damaged(path)


def damaged(path: Path) -> BenchError:
    """Returns the error for a file whose content is not that of its recorded digest."""
    return BenchError(f"{path}: damaged: its SHA-256 is not the one that was recorded when it was written")


def atomic_write(path: Path, data: bytes, keep_old: Path | None = None) -> None:
    """Writes a file so that a reader always finds the old content or the new one.

    Args:
        path: the file.
        data: its new content.
        keep_old: new name of the old content, in the same folder. A process that is killed between the two renames
            leaves the old content there, and the new one nowhere.

    Raises:
        BenchError: the file cannot be written; the old content is unchanged.
    """
    atomic_write_all({path: data}, {} if keep_old is None else {path: keep_old})


def replace_block(page: Path, name: str, text: str) -> None:
    """Replaces the text between ``<!-- name -->`` and ``<!-- /name -->`` in a page, whose line ends and BOM stay.

    Raises:
        BenchError: the page cannot be read or written, or lacks the comments.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    read_text(page)  # whose errors name the page
    content = page.read_bytes().decode()
    before, _, rest = content.partition(begin)
    _, end_comment, after = rest.partition(end)
    if not end_comment:
        raise BenchError(f"{page}: no line {begin} with a line {end} after it.")
    block = f"{begin}\n{text}{end}"
    line_end = "\r\n" if "\r\n" in content else "\n"
    atomic_write(page, f"{before}{block.replace(chr(10), line_end)}{after}".encode())


def atomic_write_all(files: Mapping[Path, bytes], keep_old: Mapping[Path, Path] = MappingProxyType({})) -> None:
    """Writes several files: all are on disk under temporary names before the first is renamed, in the given order.

    Temporary files that killed processes left in the same folders are removed. ``keep_old`` gives the old content of
    some files another name.

    Raises:
        BenchError: a file cannot be written; the old content of all is unchanged.
    """
    staged: dict[Path, Path] = {}
    folders = {path.parent for path in files}
    for folder in folders:
        remove_abandoned(folder)
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = temporary_path(path)
            with staged[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in staged.items():
            if path in keep_old and path.exists():
                path.replace(keep_old[path])
            temporary.replace(path)
        for folder in folders:
            sync_folder(folder)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Returns a new name beside ``path`` that contains the process and the machine."""
    return path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}.{secrets.token_hex(4)}.tmp")


def is_temporary(name: str) -> bool:
    """Returns whether a file or folder of this name is being written, or was when its process ended."""
    return _TEMPORARY.fullmatch(name) is not None


_TEMPORARY = re.compile(r"\..+\.(?P<process>[0-9]+)@(?P<machine>.*)\.[0-9a-f]{8}\.tmp")


def remove_abandoned(folder: Path) -> None:
    """Removes temporary files and folders of processes that ended; of those on other machines, the old ones."""
    for temporary in folder.glob(".*.tmp"):
        if (writer := _TEMPORARY.fullmatch(temporary.name)) is None:
            continue
        with suppress(OSError):  # another process removed it, or another user owns it
            if writer["machine"] == platform.node():
                abandoned = not _is_running(int(writer["process"]))
            else:
                abandoned = time.time() - temporary.stat().st_mtime > ABANDONED_AFTER
            if abandoned:
                shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Makes renames in ``folder`` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

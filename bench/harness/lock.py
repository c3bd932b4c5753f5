"""Locks of runs: processes and machines that share a folder of records share its work, and do no run twice.

A lock is a file that names its owner. It is created only where there is none (``O_EXCL``), which is atomic on local
file systems and on NFS from version 3. Locks of the operating system (``flock``, ``fcntl``) are not used: many network
file systems lack them, or keep them on one machine.

**When a lock is stale.** On the machine of its owner, when the process has ended; the time at which a process started
tells it from a later one with the same number. A process of another machine, or of another container, cannot be seen:
its lock is stale when its file was not written for `STALE_AFTER` seconds, while a living owner writes it every `BEAT`
seconds. Both times come from the clock of the file system, so that clocks that differ between machines do not matter.

**Takeover.** Whoever removes a stale lock first holds a second lock, named after the first one, and then looks again.
So of several that find the same stale lock one removes it, and none removes the lock of its successor.

**What is not guaranteed.** An owner that stands still for more than `STALE_AFTER` seconds, such as a suspended machine,
can lose its lock to another machine. It looks before each write of a checkpoint or a record and ends with an error if
it lost the lock; only a machine that is suspended between this look and the write that follows writes nevertheless. A
file system without an atomic ``O_EXCL`` (NFS 2, some that synchronise through the internet) guarantees nothing.
"""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import BenchError
from bench.reading import parse_as, parse_json

BEAT = 5.0
"""Seconds between two signs of life of an owner."""

STALE_AFTER = 120.0
"""Seconds without a sign of life after which the lock of another machine is stale."""

SIZE = 1024
"""Bytes of a lock file; it is padded, so that it can be written anew in place."""


class Owner(BaseModel):
    """Who holds a lock, and how far the run is.

    Attributes:
        token: names this holding of the lock, and no other.
        run: folder of the run, without its parents.
        host: name of the machine.
        machine: the running operating system and the container in which ``process`` is a number.
        process: number of the process.
        started: when the process started, as the operating system puts it.
        since: seconds since 1970 at which the lock was taken, by the clock of the host.
        phase: of the run; empty before the first.
        fraction: of the phase that is done.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    token: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    run: str
    host: str
    machine: str
    process: Annotated[int, Field(ge=1, lt=2**31)]
    started: str
    since: Annotated[float, Field(ge=0, lt=1e11)]
    phase: str = ""
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


class LockedError(BenchError):
    """Another process holds the lock.

    Attributes:
        path: the lock.
        owner: in words.
    """

    def __init__(self, path: Path, owner: Owner | None) -> None:
        self.path, self.owner = path, str(owner or "another process")
        super().__init__(f"{path}: {self.owner} works on this run.")


class LostLockError(BenchError):
    """Another process took the lock over.

    Attributes:
        path: the lock.
    """

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"{path}: this process lost its lock, since {why}; the run ends here.")


@dataclass(frozen=True)
class FoundLock:
    """A lock as it is on disk.

    Attributes:
        path: the file.
        token: names this holding of the lock, and no other.
        owner: None while the file is being written, or if it is damaged.
        written: when the file was last written, by the clock of the file system.
    """

    path: Path
    token: str
    owner: Owner | None
    written: float

    @classmethod
    def read(cls, path: Path) -> FoundLock | None:
        """Returns the lock, or None if nobody holds it.

        Raises:
            BenchError: the file cannot be read.
        """
        try:
            with path.open("rb") as file:  # NFS asks the server for the state of a file only when it is opened
                content, state = file.read(SIZE), os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BenchError(f"cannot read {path}: {error.strerror or error}.") from error
        try:
            owner = parse_as(Owner, parse_json(content, str(path)), str(path))
        except (BenchError, TypeError, ValueError):
            return cls(path, f"{state.st_ino:x}-{state.st_mtime_ns:x}", None, state.st_mtime)
        return cls(path, owner.token, owner, state.st_mtime)

    def is_stale(self) -> bool:
        """Returns whether the owner has ended, as far as can be seen from here."""
        if self.owner is not None and self.owner.machine == _machine():
            with suppress(PermissionError):  # the process of a user who hides it
                return _started(self.owner.process) != self.owner.started
        return _now(self.path.parent) - self.written > STALE_AFTER


class Lock:
    """A lock that this process holds. Use it as a context; a thread of its own gives the signs of life."""

    def __init__(self, path: Path, run: str) -> None:
        process = os.getpid()
        self.path = path
        self.owner = Owner(
            token=secrets.token_hex(8),
            run=run,
            host=platform.node(),
            machine=_machine(),
            process=process,
            started=_started(process) or "",
            since=time.time(),
        )
        self._ended, self._writing = threading.Event(), threading.Lock()
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            self.write()
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"signs of life of {run}")
        self._thread.start()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives the lock back; that of another process stays."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            os.close(self._file)
            with suppress(OSError, BenchError):
                if self.is_held():
                    self.path.unlink()

    def report(self, phase: str, fraction: float) -> None:
        """Takes how far the run is; the next sign of life tells it, a new phase at once."""
        is_new = phase != self.owner.phase
        self.owner = self.owner.model_copy(update={"phase": phase, "fraction": min(1.0, max(0.0, fraction))})
        if is_new:
            self._beat_once()

    def is_held(self) -> bool:
        """Returns whether the file still names this holding of the lock.

        Raises:
            BenchError: the file cannot be read.
        """
        with self._writing:  # or this process could read half of what it writes
            found = FoundLock.read(self.path)
        return found is not None and found.token == self.owner.token

    def check(self) -> None:
        """Checks that this process still holds the lock. Call it before each write that only the owner may do.

        Raises:
            LostLockError: it does not.
        """
        if not self.is_held():
            found = FoundLock.read(self.path)
            taken = f"{found.owner or 'another process'} took it over" if found else "its file is gone"
            raise LostLockError(self.path, taken)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self._beat_once()

    def _beat_once(self) -> None:
        with suppress(OSError):  # a full disk, or a file that is gone: the owner looks before it writes
            self.write()

    def write(self) -> None:
        """Gives a sign of life."""
        # In place: a new file under this name could replace the lock of another process.
        content = self.owner.model_dump_json().encode().ljust(SIZE - 1) + b"\n"
        with self._writing:
            os.pwrite(self._file, content[:SIZE], 0)
            os.fsync(self._file)


def lock_of(out: Path, training_id: str) -> Path:
    """Returns the lock of the runs in a folder that train in the same way, so that one trains and the others score."""
    return out / f".{training_id}.lock"


def acquire(path: Path, run: str) -> Lock:
    """Takes a lock, over from its owner if that has ended.

    Args:
        path: the lock.
        run: folder of the run, for those who wait.

    Raises:
        LockedError: another process holds it.
        BenchError: the folder cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from error
    while True:
        try:
            return Lock(path, run)
        except FileExistsError:
            pass
        except OSError as error:
            raise BenchError(f"cannot write {path}: {error.strerror or error}") from error
        if (found := FoundLock.read(path)) is not None:
            if not found.is_stale():
                raise LockedError(path, found.owner)
            _remove(found)


def _remove(stale: FoundLock) -> None:
    """Removes a stale lock unless another process does; then returns soon after."""
    try:
        with acquire(stale.path.with_name(f".{stale.token}.lock"), stale.path.name):
            now = FoundLock.read(stale.path)
            if now is not None and now.token == stale.token:
                stale.path.unlink()
    except LockedError:
        time.sleep(0.02)
    except OSError as error:
        raise BenchError(f"cannot remove {stale.path}: {error.strerror or error}") from error


def locks(folder: Path) -> Iterator[FoundLock]:
    """Yields the locks in a folder, stale ones too."""
    for path in sorted(folder.glob(".*.lock")):
        if (found := FoundLock.read(path)) is not None:
            yield found


def remove_stale(folder: Path) -> None:
    """Removes the locks in a folder whose owners have ended."""
    with suppress(BenchError):  # of another user, or on a file system that is read only: they are in nobody's way
        for found in locks(folder):
            if found.is_stale():
                _remove(found)


@cache
def _machine() -> str:
    """Returns what a process number belongs to: the running system, and on Linux the container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return f"{platform.node()} {uuid.getnode():x}"


def _started(process: int) -> str | None:
    """Returns when a process started, None if it has ended.

    Raises:
        PermissionError: this user may not know.
    """
    if not Path("/proc/self/stat").exists():
        command = ["ps", "-o", "lstart=", "-p", str(process)]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return listed.stdout.strip() or None
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return None
        raise PermissionError from None  # it runs, but /proc hides it
    return None if state in (b"Z", b"X") else fields[18].decode()


def _now(folder: Path) -> float:
    """Returns the time by the clock of the file system, or that of this machine if the folder cannot be written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()

"""One owner at a time: of processes here, of processes that died, and of machines that cannot be seen."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.harness import lock as lock_module
from bench.harness.lock import STALE_AFTER, FoundLock, Lock, LockedError, LostLockError, acquire, locks, remove_stale

HOLD = """
import sys, time
from pathlib import Path
from bench.harness.lock import acquire
with acquire(Path(sys.argv[1]), "a run"):
    print("held", flush=True)
    time.sleep(600)
"""

# Each process takes the lock many times and adds to a number in a file while it holds it, slowly.
COUNT = """
import sys, time
from pathlib import Path
from bench.harness.lock import LockedError, acquire
path, number = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 20:
    try:
        with acquire(path, "a run"):
            before = int(number.read_text())
            time.sleep(0.001)
            number.write_text(str(before + 1))
            done += 1
    except LockedError:
        time.sleep(0.001)
"""


@contextmanager
def process(program: str, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:  # noqa: S603
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / ".0123456789ab.lock"


@pytest.fixture
def write_lock(lock_file: Path) -> Callable[..., Path]:
    """Leaves the lock of a process as it would be after a kill, with changes."""

    def write(age: float = 0.0, **changes: Any) -> Path:
        with acquire(lock_file, "a run") as lock:
            owner = lock.owner.model_dump()
        lock_file.write_text(json.dumps({**owner, **changes}))
        os.utime(lock_file, (time.time() - age, time.time() - age))
        return lock_file

    return write


def test_a_lock_is_held_by_one_and_leaves_nothing(lock_file: Path) -> None:
    with acquire(lock_file, "a run") as lock:
        assert lock.is_held()
        (found,) = locks(lock_file.parent)
        assert found.owner == lock.owner
        assert not found.is_stale()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on .* works on this run"):
            acquire(lock_file, "a run")
    assert list(lock_file.parent.iterdir()) == []


def test_processes_take_turns(lock_file: Path, tmp_path: Path) -> None:
    """Four of them: without the lock, or with one that two can hold, additions are lost."""
    number = tmp_path / "number"
    number.write_text("0")
    with ExitStack() as stack:
        started = [stack.enter_context(process(COUNT, lock_file, number)) for _ in range(4)]
        assert [each.wait() for each in started] == [0] * 4
    assert number.read_text() == "80"
    assert list(tmp_path.iterdir()) == [number]


def test_the_lock_of_a_killed_process_is_taken_over_at_once(lock_file: Path) -> None:
    with process(HOLD, lock_file) as owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {owner.pid} "):
            acquire(lock_file, "a run")
        os.kill(owner.pid, signal.SIGSTOP)  # here, one that stands still is alive, however long
        os.utime(lock_file, (0, 0))
        with pytest.raises(LockedError):
            acquire(lock_file, "a run")
        os.kill(owner.pid, signal.SIGKILL)
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the table of processes
        with acquire(lock_file, "a run") as lock:
            assert lock.is_held()


def test_a_process_with_the_number_of_the_owner_is_another_one(write_lock: Callable[..., Path]) -> None:
    """Our own number, and another start."""
    path = write_lock(started="1")
    with acquire(path, "a run"):
        pass
    assert not path.exists()


@pytest.mark.parametrize("machine", ["another", ""])
def test_a_machine_that_cannot_be_seen_has_to_give_signs_of_life(write_lock: Callable[..., Path], machine: str) -> None:
    path = write_lock(age=STALE_AFTER - 20, machine=machine, host="elsewhere", started="1")
    with pytest.raises(LockedError, match="on elsewhere"):
        acquire(path, "a run")
    let_age(path)
    with acquire(path, "a run") as lock:
        assert lock.is_held()


def let_age(path: Path) -> None:
    os.utime(path, (time.time() - STALE_AFTER - 20,) * 2)


@pytest.mark.parametrize("hours", [-5, 5])
def test_age_is_by_the_clock_of_the_file_system(
    write_lock: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The clock of this machine may be wrong by hours."""
    path, now = write_lock(machine="another"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600 * hours)
    assert not FoundLock.read(path).is_stale()
    os.utime(path, (now - STALE_AFTER - 20,) * 2)
    assert FoundLock.read(path).is_stale()


def test_the_owner_gives_signs_of_life_with_its_progress(lock_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT", 0.01)
    with acquire(lock_file, "a run") as lock:
        os.utime(lock_file, (0, 0))
        lock.report("train", 0.25)
        end = time.monotonic() + 60
        while (found := FoundLock.read(lock_file)).written < 1 or found.owner is None or found.owner.phase != "train":
            assert time.monotonic() < end
        assert found.owner.fraction == 0.25
        assert lock.is_held()


def test_an_owner_that_lost_its_lock_is_told_and_leaves_the_lock_of_its_successor(lock_file: Path) -> None:
    with acquire(lock_file, "a run") as first:
        first.check()
        lock_file.unlink()
        with pytest.raises(LostLockError, match=r"since its file is gone; the run ends here\."):
            first.check()
        with acquire(lock_file, "a run") as second:
            with pytest.raises(LostLockError, match=f"since process {os.getpid()} on .* took it over"):
                first.check()
            first.release()
            assert second.is_held()


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff\x00", b"[" * 5000, b'{"token": "../../x"}'])
def test_a_damaged_lock_counts_until_it_is_old(lock_file: Path, content: bytes) -> None:
    """It may be one that is being written."""
    lock_file.write_bytes(content)
    with pytest.raises(LockedError, match="another process works on this run"):
        acquire(lock_file, "a run")
    let_age(lock_file)
    with acquire(lock_file, "a run") as lock:
        assert lock.is_held()
    assert list(lock_file.parent.iterdir()) == []


def test_of_many_that_find_a_stale_lock_one_takes_it_over(
    write_lock: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that look at the same time and then stop for random times: none removes the lock of another."""
    read, rng = FoundLock.read, random.Random(0)

    def read_slowly(path: Path) -> FoundLock | None:
        found = read(path)
        time.sleep(rng.uniform(0, 0.004))
        return found

    monkeypatch.setattr(FoundLock, "read", read_slowly)

    def take(path: Path) -> bool:
        try:
            lock = acquire(path, "a run")
        except LockedError:
            return False
        assert lock.is_held()
        taken.append(lock)
        return True

    taken: list[Lock] = []
    for _ in range(10):
        path = write_lock(started="1")
        taken.clear()
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, [path] * 8)) == 1
        taken[0].check()
        taken[0].release()
        assert list(path.parent.iterdir()) == []


def test_a_taker_that_died_is_succeeded(write_lock: Callable[..., Path]) -> None:
    """It held the second lock, too."""
    path = write_lock(started="1")
    token = json.loads(path.read_text())["token"]
    path.with_name(f".{token}.lock").write_text(path.read_text().replace(token, "f" * 16))
    with acquire(path, "a run") as lock:
        assert lock.is_held()
    assert list(path.parent.iterdir()) == []


def test_stale_locks_are_swept_and_others_kept(write_lock: Callable[..., Path]) -> None:
    stale = write_lock(started="1")
    stale = stale.rename(stale.with_name(".stale.lock"))
    with acquire(stale.with_name(".held.lock"), "a run") as held:
        remove_stale(stale.parent)
        assert list(stale.parent.iterdir()) == [held.path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"cannot write .*file/\.x\.lock: "):
        acquire(tmp_path / "file" / ".x.lock", "a run")

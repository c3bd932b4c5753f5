"""Files that are whole or not there: a process that is killed while it writes, and one that is not."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.storage import ABANDONED_AFTER, atomic_write, atomic_write_all, is_temporary, temporary_path

# Writes a file, and stops when all of it is written but not yet under its name.
Writing = Callable[..., AbstractContextManager[Any]]
WRITER = """
import os, sys
from pathlib import Path
from bench import storage

def stop(descriptor):
    print("written", flush=True)
    sys.stdin.readline()

storage.os.fsync = stop
storage.atomic_write(Path(sys.argv[1]), b"theirs")
"""


@pytest.fixture
def writing() -> Writing:
    """Starts a process that has written a file under its temporary name, and goes on when it is told to."""

    @contextmanager
    def start(path: Path) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            yield process

    return start


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["mine.json", "another.json"])
def test_what_a_killed_process_was_writing_goes_with_the_next_write(
    writing: Writing, tmp_path: Path, name: str
) -> None:
    atomic_write(tmp_path / "mine.json", b"before")
    with writing(tmp_path / "mine.json") as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert (tmp_path / "mine.json").read_bytes() == b"before"
    atomic_write(tmp_path / name, b"after")
    assert names(tmp_path) == {"mine.json", name}
    assert (tmp_path / name).read_bytes() == b"after"


def test_a_folder_that_a_killed_process_was_writing_goes_too(writing: Writing, tmp_path: Path) -> None:
    with writing(tmp_path / "mine.json") as process:
        process.kill()
    (temporary,) = tmp_path.iterdir()
    temporary.unlink()
    (temporary / "deep").mkdir(parents=True)
    mine = temporary_path(tmp_path / "mine")
    mine.mkdir()
    assert is_temporary(temporary.name)
    assert is_temporary(mine.name)
    atomic_write(tmp_path / "another.json", b"after")
    assert names(tmp_path) == {"another.json", mine.name}


def test_what_a_living_process_is_writing_stays(writing: Writing, tmp_path: Path) -> None:
    with writing(tmp_path / "mine.json") as process:
        atomic_write(tmp_path / "mine.json", b"ours")
        assert len(names(tmp_path)) == 2
        process.communicate("go on\n" * 2)
    assert process.returncode == 0
    assert names(tmp_path) == {"mine.json"}
    assert (tmp_path / "mine.json").read_bytes() == b"theirs"


def test_what_another_machine_is_writing_stays_for_an_hour(
    writing: Writing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(tmp_path / "mine.json") as process:
        process.kill()
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    atomic_write(tmp_path / "mine.json", b"ours")
    assert left.exists()
    written = time.time() - ABANDONED_AFTER - 1
    os.utime(left, (written, written))
    atomic_write(tmp_path / "mine.json", b"ours")
    assert names(tmp_path) == {"mine.json"}


@pytest.mark.parametrize("name", [".mine.json.tmp", ".mine.json.deadbeef.tmp", "mine.json.1@here.deadbeef.tmp"])
def test_files_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / name, (0, 0))
    atomic_write(tmp_path / "mine.json", b"ours")
    assert names(tmp_path) == {name, "mine.json"}


def test_the_old_content_may_be_kept(tmp_path: Path) -> None:
    path, old = tmp_path / "mine", tmp_path / "mine.old"
    for content in (b"1", b"2", b"3"):
        atomic_write(path, content, keep_old=old)
    assert (path.read_bytes(), old.read_bytes()) == (b"3", b"2")
    path.unlink()
    atomic_write(path, b"4", keep_old=old)
    assert (path.read_bytes(), old.read_bytes()) == (b"4", b"2")
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(BenchError, match="cannot write"):
        atomic_write_all({path: b"5", tmp_path / "a file" / "x": b""}, keep_old={path: old})
    assert (path.read_bytes(), old.read_bytes()) == (b"4", b"2")

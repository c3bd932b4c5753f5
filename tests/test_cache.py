"""The cache: what is read back is what was computed, whatever became of its files, and no failure of it is seen."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cache import DIGESTS, cache_folder, cached_arrays
from tests.full_disk import files_of_at_most

ARRAYS: Mapping[str, np.ndarray[Any, Any]] = {
    "ids": np.arange(1000, dtype=np.int32),
    "words.count": np.linspace(0, 1, 7).reshape(7, 1),
    "none": np.empty(0, dtype=np.int64),
    "one": np.array(5),
    "cut": np.array([True, False, True]),
}
CONTENT = {"texts": "the digest of some", "limits": [3, None]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELLA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def once() -> Callable[[], Mapping[str, np.ndarray[Any, Any]]]:
    """Returns what computes the arrays, and must not be called again."""
    calls = iter([ARRAYS])
    return lambda: next(calls)


def never() -> Mapping[str, np.ndarray[Any, Any]]:
    raise AssertionError("computed again")


def is_right(found: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    return found.keys() == ARRAYS.keys() and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in ARRAYS.items()
    )


def entry_of(folder: Path) -> Path:
    """The only thing that lies in the cache."""
    (entry,) = folder.iterdir()
    return entry


def test_what_was_computed_is_mapped_into_memory_ever_after(folder: Path) -> None:
    assert is_right(cached_arrays("texts", CONTENT, once()))
    kept = cached_arrays("texts", dict(reversed(CONTENT.items())), never)
    assert is_right(kept)
    assert entry_of(folder).name.startswith("texts-")
    assert type(kept["ids"]) is np.ndarray
    assert isinstance(kept["ids"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        kept["ids"][0] = 1


@pytest.mark.parametrize(
    ("kind", "content"), [("other", CONTENT), ("texts", {**CONTENT, "limits": [4, None]}), ("texts", {"texts": ""})]
)
def test_other_content_is_computed(folder: Path, kind: str, content: dict[str, Any]) -> None:
    cached_arrays("texts", CONTENT, once())
    other = {"ids": np.array([1.5])}
    assert cached_arrays(kind, content, lambda: other) is other
    assert is_right(cached_arrays("texts", CONTENT, never))


def truncate(entry: Path) -> None:
    file = entry / "ids.npy"
    file.write_bytes(file.read_bytes()[:-1])


def truncate_to_nothing(entry: Path) -> None:
    (entry / "ids.npy").write_bytes(b"")


def flip_a_bit(entry: Path) -> None:
    content = bytearray((entry / "ids.npy").read_bytes())
    content[-3] ^= 1
    (entry / "ids.npy").write_bytes(content)


def exchange(entry: Path) -> None:
    """Each file is whole, but not in its place."""
    shutil.copy(entry / "one.npy", entry / "ids.npy")


def lose_a_file(entry: Path) -> None:
    (entry / "cut.npy").unlink()


def lose_the_digests(entry: Path) -> None:
    (entry / DIGESTS).unlink()


def truncate_the_digests(entry: Path) -> None:
    file = entry / DIGESTS
    file.write_bytes(file.read_bytes()[:-40])


def become_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("something else")


def foreign(content: bytes) -> Callable[[Path], None]:
    def write(entry: Path) -> None:
        (entry / DIGESTS).write_bytes(content)

    return write


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        truncate_to_nothing,
        flip_a_bit,
        exchange,
        lose_a_file,
        lose_the_digests,
        truncate_the_digests,
        become_a_file,
        *map(foreign, (b"{}", b"[]", b"0", b'{"ids": 1}', b'["ids"]', b"\xff")),
    ],
)
def test_what_is_damaged_is_computed_anew_and_mended(folder: Path, damage: Callable[[Path], None]) -> None:
    cached_arrays("texts", CONTENT, once())
    damage(entry_of(folder))
    assert is_right(cached_arrays("texts", CONTENT, once()))
    assert is_right(cached_arrays("texts", CONTENT, never))
    assert entry_of(folder).is_dir()


def test_what_is_mapped_outlives_its_files(folder: Path) -> None:
    cached_arrays("texts", CONTENT, once())
    kept = cached_arrays("texts", CONTENT, never)
    shutil.rmtree(folder)
    assert is_right(kept)


def test_without_a_place_to_write_everything_is_computed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("no folder")
    for place in (folder, folder / "below"):
        monkeypatch.setenv("DELLA_BENCH_CACHE", str(place))
        assert is_right(cached_arrays("texts", CONTENT, once()))
        assert is_right(cached_arrays("texts", CONTENT, once()))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("size", [0, 200, 1000])
def test_on_a_full_disk_everything_is_computed_and_nothing_left_behind(folder: Path, size: int) -> None:
    with files_of_at_most(size):
        assert is_right(cached_arrays("texts", CONTENT, once()))
    assert list(folder.iterdir()) == []
    assert is_right(cached_arrays("texts", CONTENT, once()))
    assert is_right(cached_arrays("texts", CONTENT, never))


def test_the_first_to_finish_is_kept(folder: Path) -> None:
    def overtaken() -> Mapping[str, np.ndarray[Any, Any]]:
        cached_arrays("texts", CONTENT, once())
        return {"late": np.zeros(3)}

    assert cached_arrays("texts", CONTENT, overtaken).keys() == {"late"}
    assert is_right(cached_arrays("texts", CONTENT, never))
    assert entry_of(folder).is_dir()


RACER = """
import sys, time
from pathlib import Path
import numpy as np
from bench.cache import cached_arrays

here, number, racers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def compute():
    (here / number).touch()
    while len(list(here.iterdir())) < racers:  # until all have found nothing
        time.sleep(0.005)
    return {"ids": np.arange(200_000, dtype=np.int32)}

print(int(cached_arrays("texts", {}, compute)["ids"].sum()))
"""


def test_processes_that_compute_at_once_do_not_harm_each_other(folder: Path, tmp_path: Path) -> None:
    line = tmp_path / "line"
    line.mkdir()
    racers = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", RACER, str(line), str(number), "3"], stdout=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    expected = sum(range(200_000))
    assert [(int(racer.communicate(timeout=60)[0]), racer.returncode) for racer in racers] == [(expected, 0)] * 3
    assert {path.name for path in line.iterdir()} == {"0", "1", "2"}
    assert entry_of(folder).is_dir()
    assert int(cached_arrays("texts", {}, never)["ids"].sum()) == expected


def test_an_interrupt_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_arrays("texts", CONTENT, once())
    assert list(folder.iterdir()) == []


def test_it_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELLA_BENCH_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cached_arrays("texts", CONTENT, once()) is ARRAYS
    assert cached_arrays("texts", CONTENT, once()) is ARRAYS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"DELLA_BENCH_CACHE": "/named", "XDG_CACHE_HOME": "/xdg"}, "/named"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/della-bench"),
        ({"XDG_CACHE_HOME": ""}, "/home/reader/.cache/della-bench"),
        ({}, "/home/reader/.cache/della-bench"),
    ],
)
def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str) -> None:
    for name in ("DELLA_BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/reader", **variables}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(place)


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the standard library has it for a number that is nobody's."""
    for name in ("DELLA_BENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert cache_folder() is None
    assert cached_arrays("texts", CONTENT, once()) is ARRAYS


def test_what_killed_processes_left_is_swept_once_it_is_old(folder: Path) -> None:
    name = f".texts-{'0' * 32}.abc"
    kept = [folder / f".texts-{'1' * 32}.abc", folder / ".ssh"]
    for scratch in (folder / name, *kept):
        (scratch / "complete").mkdir(parents=True)
    for old in (folder / name, folder / ".ssh"):
        os.utime(old, (time.time() - 4000,) * 2)
    assert is_right(cached_arrays("texts", CONTENT, once()))
    assert sorted(path for path in folder.iterdir() if path.name.startswith(".")) == sorted(kept)

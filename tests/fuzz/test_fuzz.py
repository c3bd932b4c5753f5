"""Damaged inputs end in a result or in one line, a few of each reader; ``python -m tests.fuzz`` reads thousands."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from tests.fuzz import cases
from tests.fuzz.cases import Finding, check, damaged_file
from tests.fuzz.mutators import BY_SUFFIX
from tests.fuzz.readers import READERS, Reader

CASES = 8


@pytest.mark.parametrize("reader", READERS)
def test_damaged_inputs_end_in_a_result_or_in_one_line(reader: str) -> None:
    assert list(map(str, check(reader, range(CASES)))) == []


def test_a_case_is_drawn_from_its_number(tmp_path: Path) -> None:
    first, again, other = (damaged_file("texts .txt", number) for number in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("suffix", ["txt", "json", "yaml", "csv", "jsonl"])
def test_mutators_change_what_they_are_given(suffix: str) -> None:
    """Chance may leave an input as it was, but rarely."""
    valid = {"csv": b"a,b\nc,d\n"}.get(suffix, b'{"a": [1, "x"], "b": {"c": 2.5}}\n')
    for mutate in dict.fromkeys(BY_SUFFIX[suffix]):
        changed = [mutate(valid, random.Random(number)) != valid for number in range(20)]
        assert sum(changed) >= 10, mutate.__qualname__


def good(folder: Path) -> None:
    (folder / "a.txt").write_text("one\ntwo\n")


def hang(folder: Path) -> None:
    for _ in itertools.count():
        pass


def swallow(folder: Path) -> None:
    kept = [b"x" * 2**24]
    while len(kept) < 2**10:
        kept.append(kept[0] + b"y")


def wait(folder: Path) -> None:
    time.sleep(60)


def two_lines(folder: Path) -> None:
    error = BenchError("one")
    error.args = ("one\ntwo",)
    raise error


def index(folder: Path) -> None:
    [].pop()


def die(folder: Path) -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (hang, "TooSlow"),
        (swallow, "MemoryError"),
        (two_lines, "a message of several lines"),
        (index, "IndexError: pop from empty list"),
        (wait, "waits for ever"),
        (die, "the process ends with SIGSEGV"),
    ],
)
def test_what_ends_badly_is_found(read: Callable[[Path], None], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "SECONDS", 1 if read is hang else 30)
    monkeypatch.setattr(cases, "PATIENCE", 3 if read is wait else 100)
    monkeypatch.setattr(cases, "forking", lambda: __import__("multiprocessing").get_context("fork"))
    first_is_valid = iter([True])

    def read_after_first(folder: Path) -> None:
        if not next(first_is_valid, False):
            read(folder)

    monkeypatch.setitem(READERS, "odd", Reader("odd", good, read_after_first))
    findings: list[Finding] = list(check("odd", [7]))
    assert [(finding.number, what in finding.what) for finding in findings] == [(7, True)]


def test_a_valid_input_that_is_refused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "forking", lambda: __import__("multiprocessing").get_context("fork"))
    monkeypatch.setitem(READERS, "odd", Reader("odd", good, index))
    assert [finding.number for finding in check("odd", [1])] == [-1]

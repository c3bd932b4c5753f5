"""Verbs that read records, on many of them: whole processes, which should take time in proportion to the records."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.figures import Growth
from tests.benchmarks.many_records import write_many_records
from tests.benchmarks.test_startup import SCRIPT

SERIES = (500, 1_000, 2_000)
AIMS = {"table": 2.0, "audit": 5.0, "compare": 5.0, "compare, all worse": 5.0}
"""Verb to the seconds aimed at with the largest number of records, which the benchmark file holds beside its own."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets by their size: one, the same with small changes, and one in which every value got worse."""
    folder = tmp_path_factory.mktemp("sets")
    for count in SERIES:
        for name, moved in (("first", 0.0), ("second", 0.001), ("worse", 0.1)):
            write_many_records(folder / str(count) / name, count, moved)
    return folder


@pytest.mark.parametrize("verb", AIMS)
def test_many_records(growth: Growth, sets: Path, verb: str) -> None:
    folders = {"compare": ("first", "second"), "compare, all worse": ("first", "worse")}.get(verb, ("first",))
    of_verb = ("table", "--format", "md") if verb == "table" else (verb.partition(",")[0],)

    def work(count: int) -> Callable[[], object]:
        command = [SCRIPT, *of_verb, *(str(sets / str(count) / folder) for folder in folders)]
        return lambda: subprocess.run(command, check=False, capture_output=True)  # noqa: S603

    growth(work, "records", SERIES, at_most=1.1, rounds=3, verb=verb, seconds_aimed_at=AIMS[verb])

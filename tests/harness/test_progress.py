"""What a person sees of a grid: one line per run that ended, and an estimate that becomes exact."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from bench.harness import progress as progress_module
from bench.harness.grid import Outcome
from bench.harness.progress import GridProgress
from bench.records.schema import Record
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]


class Clock:
    """A clock that goes when told."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def test_unattended_it_writes_a_plain_line_per_run(micro: MakeSpec, clock: Clock) -> None:
    written = io.StringIO()
    with GridProgress(4, Console(file=written, width=40)) as progress:
        clock.now = 60.0
        progress.on_progress(2, 0.9)
        progress.on_end(2, Outcome(micro("lm"), error="a rather long reason that is wider than the console [0]"))
        clock.now = 120.0
        progress.on_progress(0, 0.5)
        progress.on_progress(1, 0.5)
        progress.on_end(1, Outcome(micro("embed"), error="no"))
    assert written.getvalue().splitlines() == [
        "[1/4] snli lm seed 0: failed: a rather long reason that is wider than the console [0]; about 3 min 0 s left",
        "[2/4] snli embed seed 0: failed: no; about 1 min 12 s left",  # 120 s for 2.5 runs, 1.5 to go
    ]


def test_the_line_of_a_finished_run_has_the_scores_that_were_asked_for(
    micro: MakeSpec, make_record: Callable[..., Record]
) -> None:
    record, written = make_record(), io.StringIO()
    first, *_, last = record.metrics
    with GridProgress(1, Console(file=written), metrics=[last.name, "no such metric", first.name]) as progress:
        progress.on_end(0, Outcome(micro("lm"), record))
    scores = f"{last.name} {last.value:.4g}, {first.name} {first.value:.4g}"
    assert written.getvalue() == f"[1/1] snli lm seed 0: {record.status}; {scores}; about 0 s left\n"


def test_the_estimate_waits_for_something_to_go_by_and_progress_never_goes_back(clock: Clock) -> None:
    progress = GridProgress(2, Console(file=io.StringIO()))
    assert progress.time_left() == "estimating the time left"
    clock.now = 10.0
    progress.on_progress(0, 0.04)
    assert progress.time_left() == "estimating the time left"
    progress.on_progress(0, 0.5)
    assert progress.time_left() == "about 30 s left"
    progress.on_progress(0, 0.2)  # an event that came late
    assert progress.time_left() == "about 30 s left"


def test_recorded_runs_do_not_count_as_work(micro: MakeSpec, clock: Clock) -> None:
    progress = GridProgress(4, Console(file=io.StringIO()))
    clock.now = 1.0
    for number in (0, 1):
        progress.on_end(number, Outcome(micro("lm"), error="recorded"))
    assert progress.time_left() == "estimating the time left"
    clock.now = 10.0
    progress.on_progress(2, 0.5)
    assert progress.time_left() == "about 30 s left"
    for number in (2, 3):
        progress.on_end(number, Outcome(micro("lm"), error="x"))
    assert progress.time_left() == "about 0 s left"

"""The progress of a grid: a bar with the time left in a terminal, and a line per finished run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import escape
from bench.harness.grid import Outcome


class GridProgress:
    """Shows the progress of a grid. Use it as a context and give its methods to ``run_grid``.

    Args:
        n_runs: number of runs.
        console: output; by default standard error, because tables go to standard output.
        quiet: whether nothing is shown.
        metrics: names of the metrics whose scores stand in the line of a finished run.
    """

    def __init__(
        self, n_runs: int, console: Console | None = None, quiet: bool = False, metrics: Sequence[str] = ()
    ) -> None:
        self.metrics = metrics
        self.console = console or Console(stderr=True)
        self.console.quiet = quiet
        self.fractions = [0.0] * n_runs
        self.without_work: set[int] = set()
        self.owners: Sequence[str] = ()
        self.ended = 0
        self.start = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("runs", total=n_runs, left="")

    def __enter__(self) -> GridProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def on_progress(self, number: int, fraction: float) -> None:
        """Updates the bar with the fraction of a run that is done."""
        self.fractions[number] = max(self.fractions[number], fraction)
        self.bar.update(self.task, left=self.time_left())

    def on_end(self, number: int, outcome: Outcome) -> None:
        """Updates the bar and prints a line with the outcome of a run and its scores."""
        if not self.fractions[number]:
            self.without_work.add(number)  # it was recorded already, or failed at once
        self.fractions[number] = 1.0
        self.ended += 1
        self.bar.update(self.task, completed=self.ended, left=self.time_left())
        status = f"failed: {outcome.error}" if outcome.error or not outcome.record else outcome.record.status
        told = [status, *self._scores(outcome), self.time_left()]
        line = f"[{self.ended}/{len(self.fractions)}] {outcome.spec.title}: {'; '.join(told)}"
        self.console.print(escape.line(line), highlight=False, markup=False, soft_wrap=True)

    def _scores(self, outcome: Outcome) -> list[str]:
        """Returns the scores to show of a run that has any, in one text."""
        values = {score.name: score.value for score in (outcome.record.metrics if outcome.record else ())}
        scores = ", ".join(f"{name} {values[name]:.4g}" for name in self.metrics if name in values)
        return [scores] if scores else []

    def on_wait(self, owners: Sequence[str]) -> None:
        """Tells, once for the same owners, that the remaining runs are done by other processes."""
        if owners and owners != self.owners:
            line = f"the remaining runs are those of {', '.join(owners)}; waits for them"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self.owners = owners

    def time_left(self) -> str:
        """Returns an estimate of the remaining time, for example ``about 2 min 10 s left``.

        Runs that ended without work, such as those that were recorded before, say nothing about the others.
        """
        left = len(self.fractions) - sum(self.fractions)
        done = sum(self.fractions) - len(self.without_work)
        if left and done < 0.05:
            return "estimating the time left"
        seconds = round((time.monotonic() - self.start) * left / done) if left else 0
        return f"about {seconds // 60} min {seconds % 60} s left" if seconds >= 60 else f"about {seconds} s left"

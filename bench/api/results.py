"""Runs, records and scores as data frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.bootstrap import Bootstrap
from bench.errors import BenchError
from bench.metric import Score
from bench.metrics.score_files import score_texts
from bench.reading import parse_as
from bench.records.doubts import training_ends
from bench.records.schema import Record, RecordedScore
from bench.records.store import StoredRun, load_runs
from bench.report import build_table, default_layout, narrow_layout
from bench.report.table import Table
from bench.specs import DataSource, ObjectiveSpec
from bench.suites import load_suite

if TYPE_CHECKING:
    import pandas as pd

    from bench.harness.grid import Outcome

COLUMNS = (
    *("task", "system", "objective", "scale", "seed", "metric", "value", "low", "high", "unit", "direction"),
    *("signature", "n", "run_id", "status"),
)


@dataclass(frozen=True)
class ResultTable:
    """A table of a suite.

    Attributes:
        table: as every format prints it.
    """

    table: Table

    def to_frame(self) -> pd.DataFrame:
        """Returns the means over seeds: a row for each system, a column for each task and metric.

        ``to_latex`` and ``style`` of pandas work on it. Cells without a value are NaN.
        """
        import pandas as pd

        columns = pd.MultiIndex.from_tuples(
            [(group.title, column.text) for group, column in self.table.columns], names=["task", "metric"]
        )
        values = [[cell.value for cell in row.cells] for row in self.table.rows]
        index = pd.Index([row.title for row in self.table.rows], name="system")
        return pd.DataFrame(values, index, columns, dtype="float64")


@dataclass(frozen=True, repr=False)
class Results:
    """Recorded runs.

    Attributes:
        runs: with their records and folders.
    """

    runs: tuple[StoredRun, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The record of each run."""
        return tuple(run.record for run in self.runs)

    def __repr__(self) -> str:
        tasks, systems = {record.task for record in self.records}, {record.label for record in self.records}
        return f"Results({len(self)} runs of {len(systems)} systems on {', '.join(sorted(tasks))})"

    def __len__(self) -> int:
        return len(self.runs)

    def to_frame(self) -> pd.DataFrame:
        """Returns a line for each score, and one without metric for each run that has none.

        Columns: task, system (its label), objective, scale, seed, metric, value, low and high (the interval over
        texts), unit, direction (up or down is better), signature, n (texts), run_id, status.
        """
        import pandas as pd

        return pd.DataFrame(self._lines(), columns=list(COLUMNS))

    def table(self, layout: str = "", *, allow_mixed: bool = False) -> ResultTable:
        """Returns the table of a suite, or one of all that is recorded.

        Args:
            layout: name of a suite, or a YAML file.
            allow_mixed: whether rows may be trained or scored with different settings.

        Raises:
            BenchError: the suite has no layout, or the records are not comparable.
        """
        chosen = default_layout(self.records)
        if layout:
            if (of_suite := load_suite(layout).layout) is None:
                raise BenchError(f"suite {layout!r}: has no layout.")
            chosen = narrow_layout(of_suite, self.records) or of_suite
        return ResultTable(build_table(self.records, chosen, allow_mixed, ends=training_ends(self.runs)))

    def _lines(self) -> Iterator[dict[str, object]]:
        for record in self.records:
            objective = parse_as(ObjectiveSpec, _section(record, "objective"), f"record {record.run_id}")
            run: dict[str, object] = {
                "task": record.task,
                "system": record.label,
                "objective": "+".join(part.name for part in objective.parts),
                "scale": record.scale,
                "seed": record.seed,
                "run_id": record.run_id,
                "status": record.status,
            }
            if not record.metrics:
                yield run
            for score in record.metrics:
                yield run | _line(score)


def _line(score: Score | RecordedScore) -> dict[str, object]:
    return {
        "metric": score.name,
        "value": score.value,
        "low": score.interval and score.interval.low,
        "high": score.interval and score.interval.high,
        "unit": score.unit,
        "direction": score.direction,
        "signature": score.signature,
        "n": score.n,
    }


def _section(record: Record, name: str) -> Mapping[str, Any]:
    """Returns a section of a record's spec, empty in records that lack it."""
    section = record.spec.get(name)
    return section if isinstance(section, dict) else {}


def results(paths: str | Path | Sequence[str | Path]) -> Results:
    """Reads records.

    Args:
        paths: record files, or folders of records.

    Raises:
        BenchError: there are none, or one is damaged.
    """
    where = [Path(paths)] if isinstance(paths, str | Path) else list(map(Path, paths))
    if not (runs := load_runs(where)):
        raise BenchError(f"no records in {', '.join(map(str, where))}.")
    return Results(tuple(runs))


def run(
    suite: str,
    scale: str = "smoke",
    *,
    out: str | Path,
    systems: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
    data_dir: str | Path | None = None,
    jobs: int = 1,
) -> Results:
    """Trains and scores a grid, as ``della-bench run`` does; what is recorded in the folder is not repeated.

    If the suite has a sweep, its runs come first and choose the learning rate of each row.

    Args:
        suite: name of a suite, or a YAML file.
        scale: name of a scale, or a YAML file.
        out: folder of the records.
        systems: labels, in place of those of the suite.
        tasks: tasks, in place of those of the suite.
        seeds: seeds, in place of those of the suite.
        settings: entries in place of those of the scale, for example ``{"training.epochs": 2}``.
        data_dir: folder with the texts of the tasks; None for the embedded grammars.
        jobs: parallel runs. More than one start processes: a script then needs ``if __name__ == "__main__":``.

    Raises:
        BenchError: a mistake in the arguments or the data, or a run failed; the others are recorded.
    """
    from bench.harness.grid import run_grid
    from bench.harness.plan import plan
    from bench.harness.preflight import check_folder, check_inputs
    from bench.harness.sweep import plan_sweep, tuned

    data = None if data_dir is None else Path(data_dir)
    source: DataSource = "grammar" if data is None else "files"
    chosen = load_suite(suite)
    planned = partial(plan, chosen, scale, source=source, settings=settings)
    specs = planned(systems=systems, tasks=tasks, seeds=seeds)
    trials = plan_sweep(chosen.sweep, specs, planned)
    check_inputs([*trials, *specs], data)
    check_folder(Path(out))
    if chosen.sweep is not None:
        specs = tuned(specs, chosen.sweep, _recorded(run_grid(trials, Path(out), data, jobs), Path(out)))
    outcomes = run_grid(specs, Path(out), data, jobs)
    for outcome in outcomes:
        if outcome.error is not None:
            raise BenchError(f"{outcome.spec.title}: {outcome.error}")
    return Results(_recorded(outcomes, Path(out)))


def _recorded(outcomes: Sequence[Outcome], out: Path) -> tuple[StoredRun, ...]:
    """Returns the runs of a folder that belong to outcomes."""
    made = {outcome.record.run_id for outcome in outcomes if outcome.record is not None}
    return tuple(run for run in load_runs([out]) if run.record.run_id in made)


def score(
    texts: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]] = (),
    *,
    train: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    pairs: bool | None = None,
) -> pd.DataFrame:
    """Scores texts and returns a line for each metric: metric, value, low, high, unit, direction, signature, n.

    Args:
        texts: generated texts.
        references: a text, or several, for each generated text; or any number of texts of the domain.
        train: training texts, from which a text may be copied.
        metrics: names with options; None for all that apply.
        pairs: whether text i belongs to reference i; None: yes if there are equally many.

    Raises:
        BenchError: a metric is unknown or does not apply, or pairs do not match in number.
    """
    import pandas as pd

    groups = [[group] if isinstance(group, str) else list(group) for group in references]
    found = score_texts(texts, groups, train, metrics, pairs=pairs, bootstrap=Bootstrap())
    return pd.DataFrame(map(_line, found.scores))

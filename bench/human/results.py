"""What the ratings of a study say: means with intervals, agreement of the raters, paired tests, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.bootstrap import Array, Bootstrap, Interval
from bench.errors import BenchError
from bench.human.ratings import Ratings, read_ratings
from bench.human.study import Key
from bench.metric import Direction
from bench.reading import parse_as, read_yaml
from bench.records.published import PublishedFigure, PublishedFigures
from bench.report.table import Cell, ColumnGroup, ColumnHeader, SignatureLine, Table, TableRow
from bench.significance import holm
from bench.suites import Layout, PublishedDataset, RowLayout, TaskLayout

SIGNIFICANT = 0.05
AGREEMENT = "agreement"
VERSION = 1
PERMUTATIONS = 2**14
"""Most permutations of a test: all of those of 14 texts."""


class PairedTest(NamedTuple):
    """Difference of two means over texts, the first minus the second, and its two-sided p-value."""

    difference: float
    p_value: float


def paired_test(first: Array, second: Array, seed: int) -> PairedTest:
    """Tests whether two systems have the same mean, by permutations that swap them at some of the texts.

    All 2^n permutations of n texts are counted if they are at most ``PERMUTATIONS``, and else so many drawn ones. With
    few texts the test has no small p-values: of n texts none is below 2^(1 - n).

    Args:
        first: mean rating of each text of one system (n).
        second: of the other system, at the same places (n).
        seed: of the draws.
    """
    if len(first) < 2:  # both of the two permutations are as far from zero
        return PairedTest(float(np.mean(first - second)), 1.0)
    from scipy.stats import permutation_test

    def difference(a: Array, b: Array, axis: int) -> Array:
        return np.mean(a - b, axis=axis)

    result = permutation_test(
        (first, second),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(seed),
    )
    return PairedTest(float(result.statistic), float(result.pvalue))


def mean_of(means: Array, n: int) -> Array:
    """Returns the only column mean: the statistic of all intervals here."""
    return means[..., 0]


@dataclass(frozen=True)
class Results:
    """The ratings of a study, and what follows from them.

    Attributes:
        key: of the study.
        ratings: of each rater.
        bootstrap: settings of intervals.
    """

    key: Key
    ratings: Ratings
    bootstrap: Bootstrap

    def labels(self, task: str) -> tuple[str, ...]:
        """Returns the systems that have texts of a task."""
        return tuple(dict.fromkeys(item.label for item in self.key.items if item.task == task))

    def of_texts(self, task: str, label: str | None, criterion: str) -> npt.NDArray[np.int64]:
        """Returns the ratings of the texts of a system, or of all systems (texts x raters)."""
        place = self.key.criteria.index(criterion)
        names = [item.name for item in self.key.items if item.task == task and label in (None, item.label)]
        return np.array([[of_rater[name][place] for of_rater in self.ratings.values()] for name in names])

    def text_means(self, task: str, label: str, criterion: str) -> Array:
        """Returns the mean over raters of each text (texts x 1)."""
        return self.of_texts(task, label, criterion).mean(axis=1, keepdims=True)

    def mean(self, task: str, label: str, criterion: str) -> tuple[float, Interval]:
        """Returns the mean rating of a system and its interval over texts."""
        rows = self.text_means(task, label, criterion)
        return float(rows.mean()), self.bootstrap.interval(rows, mean_of)

    def alpha(self, task: str, criterion: str) -> float | None:
        """Returns Krippendorff's alpha of all ratings of a task, for ordinal data; None where it is not defined.

        It is not defined with one rater, and if all ratings are equal (Krippendorff 2004, chapter 11).

        Raises:
            BenchError: the package krippendorff is missing.
        """
        try:
            import krippendorff
        except ImportError as error:
            raise BenchError(
                "the agreement of raters needs the package krippendorff: pip install 'della-bench[human]'."
            ) from error
        ratings = self.of_texts(task, None, criterion)
        if ratings.shape[1] < 2 or len(np.unique(ratings)) < 2:
            return None
        return float(krippendorff.alpha(reliability_data=ratings.T, level_of_measurement="ordinal"))

    def tests(self, task: str, criterion: str) -> dict[tuple[str, str], PairedTest]:
        """Returns the paired test of each two systems, by the place of their texts; p-values are as they come."""
        means = {label: self.text_means(task, label, criterion)[:, 0] for label in self.labels(task)}
        return {
            (first, second): paired_test(means[first], means[second], self.bootstrap.seed)
            for first, second in combinations(means, 2)
        }

    def higher_than(self, task: str, criterion: str) -> dict[str, dict[str, float]]:
        """Returns for each system those that it exceeds significantly, with the p-values that Holm's method adjusts."""
        tests = self.tests(task, criterion)
        adjusted = holm([test.p_value for test in tests.values()])
        found: dict[str, dict[str, float]] = {label: {} for label in self.labels(task)}
        for ((first, second), test), p in zip(tests.items(), adjusted, strict=True):
            if p <= SIGNIFICANT:
                better, worse = (first, second) if test.difference > 0 else (second, first)
                found[better][worse] = p
        return found

    def table(self) -> Table:
        """Returns the table: a row for each system, a group of columns for each task, published figures beside them."""
        return _Printed(self, parse_as(Layout, read_yaml(files("bench.human") / "table3.yaml"), "table3.yaml")).table()


def score_sheets(sheets: Sequence[Path], key: Path, bootstrap: Bootstrap | None = None) -> Results:
    """Reads a key and the sheets of its study.

    Raises:
        BenchError: as ``Key.read`` and ``read_ratings``.
    """
    study = Key.read(key)
    return Results(study, read_ratings(sheets, study), bootstrap or Bootstrap())


@dataclass(frozen=True)
class _Printed:
    """Results as a table, with the rows and names of a layout."""

    results: Results
    layout: Layout

    def table(self) -> Table:
        results, key = self.results, self.results.key
        tasks = [task for task in self.layout.tasks if task.name in key.titles]
        tasks += [TaskLayout(name=name, title=title) for name, title in key.titles.items() if name not in _names(tasks)]
        labels = dict.fromkeys(item.label for item in key.items)
        rows = [row for row in self.layout.rows if row.label in labels]
        rows += [RowLayout(label=label) for label in labels if label not in {row.label for row in rows}]
        titles = {row.label: row.title or row.label for row in rows}
        higher = {(t.name, c): results.higher_than(t.name, c) for t in tasks for c in key.criteria}
        printed = [
            TableRow(
                row.label,
                titles[row.label],
                tuple(self._cell(row, task, c, higher[task.name, c], titles) for task in tasks for c in key.criteria),
            )
            for row in rows
        ]
        agreement = tuple(self._agreement(task.name, c) for task in tasks for c in key.criteria)
        return Table(
            title=self.layout.title,
            scale="",
            column_groups=tuple(self._group(task) for task in tasks),
            rows=(*printed, TableRow(AGREEMENT, "Krippendorff's alpha", agreement)),
            notes=self._notes(),
            data=(),
            signatures=(SignatureLine(self._signature(), ", ".join(task.title or task.name for task in tasks)),),
        )

    def _group(self, task: TaskLayout) -> ColumnGroup:
        n_texts = len(self.results.of_texts(task.name, self.results.labels(task.name)[0], self.results.key.criteria[0]))
        direction: Direction = "up"
        columns = (
            ColumnHeader(criterion, criterion, direction, "1", self._signature(), n_texts)
            for criterion in self.results.key.criteria
        )
        return ColumnGroup(task.name, task.title or task.name, tuple(columns))

    def _signature(self) -> str:
        key = self.results.key
        return f"rating|scale:1-{key.points}|raters:{len(self.results.ratings)}|mean:raters,texts|v:{VERSION}"

    def _cell(
        self,
        row: RowLayout,
        task: TaskLayout,
        criterion: str,
        higher: dict[str, dict[str, float]],
        titles: dict[str, str],
    ) -> Cell:
        published = self._published(row, task.published, criterion) if task.published else None
        if row.label not in higher:
            return Cell("missing", published=published)
        value, interval = self.results.mean(task.name, row.label, criterion)
        worse = ", ".join(f"{titles[label]} (p = {p:.3f})" for label, p in higher[row.label].items())
        return Cell(
            "measured",
            value=value,
            interval=interval,
            shows_interval=True,
            published=published,
            run_ids=tuple(
                {i.run_id: None for i in self.results.key.items if (i.task, i.label) == (task.name, row.label)}
            ),
            bold=len(higher) > 1 and len(higher[row.label]) == len(higher) - 1,
            footnotes=(f"higher than {worse}",) if worse else (),
        )

    def _published(self, row: RowLayout, data: PublishedDataset, criterion: str) -> PublishedFigure | None:
        known = PublishedFigures.load()
        figures = (
            known.find(data.paper, data.table, data.dataset, p.model, p.variant, criterion) for p in row.published
        )
        return next(filter(None, figures), None)

    def _agreement(self, task: str, criterion: str) -> Cell:
        alpha = self.results.alpha(task, criterion)
        if alpha is None:
            return Cell("missing", footnotes=("not defined: one rater, or equal ratings only",))
        return Cell("measured", value=alpha)

    def _notes(self) -> tuple[str, ...]:
        key, n_raters = self.results.key, len(self.results.ratings)
        missing = [rater for rater in key.raters if rater not in self.results.ratings]
        who = f"{n_raters} rater{'s' if n_raters > 1 else ''}"
        notes = [
            f"Mean rating from 1 to {key.points} by {who}, with its interval of {self.results.bootstrap.level:.0%} over"
            " texts. Footnotes and bold: paired permutation test over texts, p-values adjusted by Holm's method for all"
            f" pairs of systems in the column, at most {SIGNIFICANT}. Krippendorff's alpha is that of ordinal ratings."
        ]
        if missing:
            notes.append(f"No sheet of {', '.join(missing)}.")
        data = [task.published for task in self.layout.tasks if task.published and task.name in key.titles]
        if data:
            known = PublishedFigures.load()
            sources = dict.fromkeys(f"{known.citation(each.paper, each.table)}, {each.table}" for each in data)
            notes.append(f"Published figures: {'; '.join(sources)}; other texts and raters, so not comparable.")
        return tuple(notes)


def _names(tasks: Sequence[TaskLayout]) -> set[str]:
    return {task.name for task in tasks}

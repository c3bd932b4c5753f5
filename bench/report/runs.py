"""The runs of a table: those that its layout names, at one scale; and the scores that can share a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from bench.errors import BenchError
from bench.metric import Signature
from bench.records.differences import describe, differences, distinct_runs, same_key_error
from bench.records.doubts import is_uninformative
from bench.records.schema import Record, RecordedScore
from bench.specs import NO_IDENTITY
from bench.suites import Layout


@dataclass(frozen=True)
class ScoreConditions:
    """The conditions under which a score was measured; scores under different conditions are not comparable."""

    signature: str
    n_texts: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.signature} on {self.n_texts} texts of data {self.sha256[:12]}"

    def as_dict(self) -> dict[str, str]:
        """Returns the conditions one by one, with those that the signature lists."""
        signature = Signature.parse(self.signature)
        others = {"v": str(signature.version), "texts": str(self.n_texts), "data": self.sha256[:12]}
        return {**dict(signature.fields), **others}


@dataclass(frozen=True)
class RunsOfTable:
    """The runs that a layout names, by task and label, all of one scale.

    Attributes:
        by_cell: (task, label) to the runs of all seeds.
        scale: their scale.
        split: the split of the data whose scores are used.
        footnotes: (task, label) to what distinguishes these runs from the other rows of the task.
    """

    by_cell: Mapping[tuple[str, str], Sequence[Record]]
    scale: str
    split: str
    footnotes: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def select(cls, records: Sequence[Record], layout: Layout, allow_mixed: bool = False) -> RunsOfTable:
        """Selects the runs; a run that occurs several times counts once.

        Raises:
            BenchError: no run fits; runs have different scales; runs of a cell differ in more than the seed; or, unless
                mixing is allowed, rows of a task differ in more than system and objective.
        """
        by_cell: dict[tuple[str, str], list[Record]] = {
            (task.name, row.label): [] for task in layout.tasks for row in layout.rows
        }
        for record in distinct_runs(records, lambda record: record):
            if (record.task, record.label) in by_cell:
                by_cell[record.task, record.label].append(record)
        scales = sorted({record.scale for cell in by_cell.values() for record in cell})
        if not scales:
            labels, tasks = ", ".join(row.label for row in layout.rows), ", ".join(task.name for task in layout.tasks)
            raise BenchError(f"no record fits the layout: looked for {labels} on {tasks}")
        if len(scales) > 1:
            raise BenchError(f"records of several scales ({', '.join(scales)}) do not share a table; choose one")
        for cell in by_cell.values():
            _check_equal_but_seed(cell)
        footnotes: dict[tuple[str, str], tuple[str, ...]] = {}
        for task in layout.tasks:
            cells = [cell for (name, _), cell in by_cell.items() if name == task.name and cell]
            footnotes |= _differences_between_rows([cell[0] for cell in cells], allow_mixed)
        return cls(by_cell, scales[0], layout.split, footnotes)

    def of_task(self, task: str) -> list[Record]:
        """Returns all runs of a task."""
        return [record for (name, _), cell in self.by_cell.items() if name == task for record in cell]

    def scores(self, record: Record, metric: str) -> Mapping[ScoreConditions, RecordedScore]:
        """Returns the scores of a finished run for a metric."""
        return self._scores[record.run_id].get(metric, {})

    def has_uninformative_kl(self, record: Record) -> bool:
        """Returns whether the KL of a run tells nothing about the texts; false without KL or MI."""
        kl, mi = (next(iter(self.scores(record, name).values()), None) for name in ("KL", "MI"))
        return kl is not None and mi is not None and is_uninformative(kl.value, mi.value, mi.n)

    @cached_property
    def _scores(self) -> Mapping[str, Mapping[str, Mapping[ScoreConditions, RecordedScore]]]:
        """Run id to metric to the scores of a finished run: every cell of the table looks for some."""
        scores: dict[str, dict[str, dict[ScoreConditions, RecordedScore]]] = {}
        for record in (record for cell in self.by_cell.values() for record in cell):
            of_run = scores.setdefault(record.run_id, {})
            for score in record.metrics if record.status == "finished" else ():
                if score.split == self.split:
                    conditions = ScoreConditions(score.signature, score.n, record.data.sha256)
                    of_run.setdefault(score.name, {})[conditions] = score
        return scores


def _check_equal_but_seed(cell: Sequence[Record]) -> None:
    """Raises unless the runs of a cell have different seeds and are otherwise equal in all that determines a result."""
    for a, b in pairwise(sorted(cell, key=lambda record: record.seed)):
        if a.seed == b.seed:
            raise same_key_error(f"{a.task} {a.label} seed {a.seed}", a, b)
        entries = {key: values for key, values in differences(a, b).items() if key not in ("spec.seed", "data.sha256")}
        if entries:
            raise BenchError(f"{a.task} {a.label}: runs {a.run_id} and {b.run_id} differ in {describe(entries)}")


def _differences_between_rows(runs: Sequence[Record], allow_mixed: bool) -> dict[tuple[str, str], tuple[str, ...]]:
    """Returns for each row of a task that differs from most rows what differs, in one footnote per entry.

    Args:
        runs: one run of each row.
        allow_mixed: whether rows may differ in more than the decoding, which has a footnote in any case.

    Raises:
        BenchError: two rows differ in an entry of their specs that neither system, objective nor label explains.
    """
    entries = {run.run_id: dict(_shared_entries(run)) for run in runs}
    footnotes: dict[tuple[str, str], tuple[str, ...]] = {}
    for run in runs:
        if run.spec.get("training") is None and len(runs) > 1:
            footnotes[run.task, run.label] = ("a trained model, only scored here",)
    for key in dict.fromkeys(key for of_run in entries.values() for key in of_run):
        having = [run for run in runs if key in entries[run.run_id]]
        counts = Counter(str(entries[run.run_id][key]) for run in having)
        usual = next(run for run in having if str(entries[run.run_id][key]) == counts.most_common(1)[0][0])
        for run in having:
            values = entries[run.run_id][key], entries[usual.run_id][key]
            if str(values[0]) == str(values[1]):
                continue
            if not (allow_mixed or key.startswith("decoding.")):
                raise BenchError(
                    f"{run.task}: {run.label} (run {run.run_id}) and {usual.label} (run {usual.run_id}) differ in"
                    f" {key} ({values[0]} and {values[1]}) and do not share a table; --allow-mixed adds a footnote"
                )
            text = f"{key} {values[0]}, in other rows {values[1]}"
            footnotes[run.task, run.label] = (*footnotes.get((run.task, run.label), ()), text)
    return footnotes


def _shared_entries(run: Record) -> Iterator[tuple[str, Any]]:
    """Yields the entries of a spec in which the rows of a task should be equal.

    System and objective differ between rows, and a label may name entries of backbone and training. The learning rate
    differs where the same sweep chose it. Of a model that was trained elsewhere only scoring and decoding are those of
    the table.
    """
    is_trained = run.spec.get("training") is not None
    sections = (*(("training", "tokenizer", "backbone", "encoder") if is_trained else ()), "scoring", "decoding")
    named = {change.partition("=")[0].strip() for change in run.label.partition("@")[2].split(",")}
    if is_trained and "learning_rate" not in named:
        yield "sweep", run.spec.get("sweep")
    if run.spec.get("sweep"):
        named.add("learning_rate")
    for section in sections:
        content = run.spec.get(section)
        for key, value in content.items() if isinstance(content, Mapping) else ():
            of_label = section in ("backbone", "encoder", "training") and key in named
            if not of_label and (section, key) not in NO_IDENTITY:
                yield f"{section}.{key}", value

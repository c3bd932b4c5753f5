"""Comparison of two sets of runs: which metrics changed, by how much, and whether the change is noise.

Runs are matched by task, label, scale and seed, metrics by name and signature. A metric has changed if its relative
change exceeds its tolerance, its absolute change exceeds the absolute one and, where both runs stored per-text
statistics of the same texts, zero lies outside the interval of a paired bootstrap over texts. With ``exact``, runs of
one machine must agree to rounding instead. What has no counterpart is incomparable: it is never taken for equal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from typing_extensions import override

from bench.bootstrap import Array, Bootstrap, PairedResult, paired_bootstrap
from bench.metric import PerTextMetric
from bench.records.comparison import ComparedSets, Comparison, Obstacle, Verdict, judge, within
from bench.records.differences import describe, differences, distinct_runs, same_key_error
from bench.records.schema import SPEED, Record, RecordedScore
from bench.records.store import StoredRun

ABSOLUTE_TOLERANCES = {"nats": 0.01, "bits": 0.01, "%": 0.05, "1": 1e-4}
"""Unit to the change that is accepted, however large it is relative to the value, for scores that do not carry one."""

EXACT: Final = 1e-6
"""Relative change that is accepted of repeated runs on one machine."""

MACHINE: Final = ("device", "processor", "instruction_set", "threads", "precision", "torch")
"""Entries of an environment on which the last digits depend."""

RUN, DATA, SPEC, STATUS = "run", "data", "spec", "status"
"""What stands in the place of a metric where a whole run is compared."""

RunKey = tuple[str, str, str, int]
"""Task, label, scale and seed."""

_Place = tuple[str, str]
"""Metric and split."""


@dataclass(frozen=True)
class RunComparison(Comparison):
    """One metric of one run in both sets.

    Attributes:
        task: name of the task.
        label: label of the system.
        scale: name of the scale.
        seed: seed of the run.
        metric: name of the metric; of a whole run ``run``, ``data``, ``spec``, ``status`` or ``tokens_per_second``.
        paired: paired bootstrap over texts (first minus second), where it decides and there are statistics.
        machines: what differs between the machines, if the runs should agree exactly but only do so on one machine.
        signature: of both scores.
    """

    task: str
    label: str
    scale: str
    seed: int
    metric: str
    paired: PairedResult | None = None
    machines: str = ""
    signature: str = ""

    @property
    @override
    def subject(self) -> str:
        return f"{self.task} {self.label} {self.scale} seed {self.seed} {self.metric}"

    @property
    @override
    def name(self) -> str:
        return self.metric

    @property
    @override
    def note(self) -> str:
        paired = f"paired p = {self.paired.p_value:.3g}" if self.paired else ""
        return ", ".join(filter(None, (paired, "other machine" if self.machines else "")))

    @override
    def __str__(self) -> str:
        return f"{super().__str__()} [{self.signature}]" if self.signature else super().__str__()


def compare_runs(
    first: Sequence[StoredRun],
    second: Sequence[StoredRun],
    metrics: Mapping[str, PerTextMetric[Any]] | None = None,
    bootstrap: Bootstrap | None = None,
    exact: bool = False,
) -> ComparedSets:
    """Compares every run of ``first`` with its counterpart in ``second``.

    Args:
        first: the reference runs.
        second: the runs under test.
        metrics: name to per-text metric, for paired tests; without it only the tolerances decide.
        bootstrap: settings of the paired test.
        exact: whether each change counts, in either direction: above ``EXACT`` where both runs are of one machine, else
            beyond the tolerance.

    Returns:
        For each pair of runs a comparison of each metric and of the speed, after those that say whether the two are
        one run, differ in settings or in status, or cannot be compared; one for each run without a counterpart. The
        order is that of the first set.

    Raises:
        BenchError: a set contains two different runs of one key.
    """
    in_first, in_second = _by_key(first), _by_key(second)
    result: list[RunComparison] = []
    for key in dict.fromkeys([*in_first, *in_second]):
        a, b = in_first.get(key), in_second.get(key)
        if a is not None and b is not None:
            result += _Pair(key, a, b, metrics or {}, bootstrap, exact).compare()
        else:
            found = (f"{run.record.status} ({run.record.run_id})" if run else "no run" for run in (a, b))
            reason = "{} in the first set, {} in the second".format(*found)
            result.append(RunComparison(*key, RUN, verdict="incomparable", obstacle="missing", reason=reason))
    return ComparedSets(tuple(result), tuple(_remarks(result)))


def names_of(runs: Iterable[StoredRun]) -> set[str]:
    """Returns the names that a comparison of these runs can have."""
    names = {RUN, DATA, SPEC, STATUS}
    for run in runs:
        names.update(score.name for score in run.record.metrics)
        names.update(skipped.metric for skipped in run.record.skipped)
    return names


def _remarks(comparisons: Sequence[RunComparison]) -> Iterator[str]:
    """Yields what concerns many runs in the same way."""
    machines = {(c.task, c.label, c.scale, c.seed): c.machines for c in comparisons if c.machines}
    for reason, count in Counter(machines.values()).items():
        yield f"runs judged by tolerances, not exactly: {count}; their machines differ in {reason}"
    if unjudged := sum(c.verdict == "unjudged" and c.metric == STATUS for c in comparisons):
        yield f"runs without a score in either set: {unjudged} (--all names them)"


def _by_key(runs: Sequence[StoredRun]) -> dict[RunKey, StoredRun]:
    by_key: dict[RunKey, StoredRun] = {}
    for run in distinct_runs(runs, lambda run: run.record):
        key = key_of(run.record)
        other = by_key.setdefault(key, run)
        if other is not run:
            title = "{} {} {} seed {}".format(*key)
            raise same_key_error(f"{other.path} and {run.path}: {title}", other.record, run.record)
    return by_key


def key_of(record: Record) -> RunKey:
    """Returns what two runs of different sets have in common if they are compared."""
    return record.task, record.label, record.scale, record.seed


def is_same_run(first: StoredRun, second: StoredRun) -> bool:
    """Returns whether two records are one run: one file, or a copy of it, edited or not."""
    a, b = first.record, second.record
    return (a.run_id, a.created) == (b.run_id, b.created)


@dataclass(frozen=True)
class _Pair:
    """A run of the first set, its counterpart in the second, and how they are compared."""

    key: RunKey
    first: StoredRun
    second: StoredRun
    metrics: Mapping[str, PerTextMetric[Any]]
    bootstrap: Bootstrap | None
    exact: bool

    def compare(self) -> list[RunComparison]:
        return [*self._of_whole_run(), *self._of_status()]

    def _incomparable(
        self, metric: str, obstacle: Obstacle, reason: str, first: float | None = None, second: float | None = None
    ) -> RunComparison:
        return RunComparison(
            *self.key,
            metric,
            verdict="incomparable",
            obstacle=obstacle,
            reason=reason,
            first=first,
            second=second,
        )

    def _of_whole_run(self) -> Iterator[RunComparison]:
        a, b = self.first.record, self.second.record
        if is_same_run(self.first, self.second):
            kind = "the same file" if self.first.path.resolve() == self.second.path.resolve() else "copies of one run"
            yield self._incomparable(RUN, "same", f"{kind}: {a.run_id} of {a.created:%Y-%m-%d %H:%M:%S} in both sets")
        entries = differences(a, b)
        entries = {name: values for name, values in entries.items() if name not in ("spec.system.label", "data.sha256")}
        if entries:
            yield self._incomparable(SPEC, "spec", f"the runs differ in {describe(entries)}")

    def _of_status(self) -> Iterator[RunComparison]:
        """Yields the comparisons of the values if both runs are finished and read the same data."""
        a, b = self.first.record, self.second.record
        ends = [run.status + (f" ({run.reason})" if run.reason else "") for run in (a, b)]
        before_and_after = "{}, then {}".format(*ends)
        if a.data.sha256 != b.data.sha256:
            shown = f"the data differ: sha256 {a.data.sha256[:12]} and {b.data.sha256[:12]}"
            yield self._incomparable(DATA, "data", shown)
            if a.status == b.status:
                return
        if a.status == b.status == "finished":
            yield from self._of_values()
        elif "finished" in (a.status, b.status) and a.status != "skipped":
            verdict: Verdict = "regression" if a.status == "finished" else "improvement"
            yield RunComparison(*self.key, STATUS, verdict=verdict, reason=before_and_after)
        elif ends[0] == ends[1] and a.status != "failed":
            # A system that a run does not fit, or that diverges, is a result, and the same one; a failure is none.
            yield RunComparison(*self.key, STATUS, verdict="unjudged", reason=f"{ends[0]} in both sets")
        else:
            ran = "skipped" not in (a.status, b.status)
            yield self._incomparable(STATUS, "status" if ran else "skipped", before_and_after)

    def _of_values(self) -> Iterator[RunComparison]:
        a, b = self.first.record, self.second.record
        of_first, of_second = _by_place(a), _by_place(b)
        for place in dict.fromkeys([*of_first, *of_second]):
            before, after = of_first.get(place, {}), of_second.get(place, {})
            for signature, score in before.items():
                if signature in after:
                    yield self._of_scores(score, after[signature])
            if before.keys() != after.keys():
                yield self._of_lone_scores(place, before, after)
        if not of_first and not of_second:
            yield RunComparison(*self.key, STATUS, verdict="unjudged", reason="finished without a score in both sets")
        yield from self._of_skipped({name for name, _ in [*of_first, *of_second]})
        yield from self._of_speed()

    def _of_scores(self, score: RecordedScore, other: RecordedScore) -> RunComparison:
        if score.n != other.n:
            reason = f"of {score.n} texts, then of {other.n}"
            return self._incomparable(score.name, "data", reason, score.value, other.value)
        absolute = score.absolute_tolerance or ABSOLUTE_TOLERANCES.get(score.unit, 0.0)
        tolerance, direction, paired = score.tolerance, score.direction, None
        if self.exact:
            direction = None
        if self.exact and not self._machines:
            tolerance, absolute = EXACT, 0.0
        elif not within(score.value, other.value, tolerance, absolute):
            paired = self._paired_test(score.name)
        noise = paired is not None and paired.interval.low <= 0 <= paired.interval.high
        return RunComparison(
            *self.key,
            score.name,
            paired,
            self._machines,
            score.signature,
            verdict=judge(score.value, other.value, tolerance, direction, noise, absolute),
            first=score.value,
            second=other.value,
            tolerance=tolerance,
            absolute_tolerance=absolute,
        )

    def _of_lone_scores(
        self, place: _Place, before: Mapping[str, RecordedScore], after: Mapping[str, RecordedScore]
    ) -> RunComparison:
        name = place[0]
        if before and after:
            signatures = (", ".join(scores) for scores in (before, after))
            return self._incomparable(name, "signature", "signatures differ: {} and {}".format(*signatures))
        skipped = [_reasons(record).get(name) for record in (self.first.record, self.second.record)]
        values = [", ".join(f"{score.value:.5g}" for score in scores.values()) for scores in (before, after)]
        sides = [
            value or ("no value" if reason is None else f"skipped ({reason})")
            for value, reason in zip(values, skipped, strict=True)
        ]
        obstacle: Obstacle = "missing" if skipped == [None, None] else "skipped"
        return self._incomparable(name, obstacle, "{}, then {}".format(*sides))

    def _of_skipped(self, measured: set[str]) -> Iterator[RunComparison]:
        """Yields the metrics that both runs lack, not for the same reason."""
        before, after = _reasons(self.first.record), _reasons(self.second.record)
        for name in dict.fromkeys([*before, *after]):
            if name not in measured and before.get(name) != after.get(name):
                sides = (f"skipped ({of[name]})" if name in of else "no value" for of in (before, after))
                obstacle: Obstacle = "skipped" if name in before and name in after else "missing"
                yield self._incomparable(name, obstacle, "{}, then {}".format(*sides))

    @cached_property
    def _machines(self) -> str:
        """What differs between the machines if the runs should agree exactly; empty if nothing does."""
        if not self.exact:
            return ""
        environments = (self.first.record.environment, self.second.record.environment)
        entries = {name: (getattr(environments[0], name), getattr(environments[1], name)) for name in MACHINE}
        return ", ".join(
            f"{name} ({' and '.join('not recorded' if value is None else str(value) for value in values)})"
            for name, values in entries.items()
            if values[0] != values[1] or None in values
        )

    @cached_property
    def _statistics(self) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        return self.first.statistics(self.metrics), self.second.statistics(self.metrics)

    def _paired_test(self, name: str) -> PairedResult | None:
        if (metric := self.metrics.get(name)) is None:
            return None
        rows, other = (statistics.get(name) for statistics in self._statistics)
        if rows is None or other is None or rows.shape != other.shape:
            return None
        return paired_bootstrap(metric.aggregate, rows, other, self.bootstrap)

    def _of_speed(self) -> Iterator[RunComparison]:
        """Yields both speeds without a judgement: on one machine, unchanged code varies several times over."""
        a, b = (run.record.training.get(SPEED) for run in (self.first, self.second))
        if isinstance(a, float) and isinstance(b, float):
            reason = "not judged; it depends on the machine and on what else runs there"
            yield RunComparison(
                *self.key, SPEED, verdict="unjudged", first=a, second=b, tolerance=math.inf, reason=reason
            )


def _by_place(record: Record) -> dict[_Place, dict[str, RecordedScore]]:
    """Returns metric and split to the scores by their signature."""
    places: dict[_Place, dict[str, RecordedScore]] = {}
    for score in record.metrics:
        places.setdefault((score.name, score.split), {})[score.signature] = score
    return places


def _reasons(record: Record) -> dict[str, str]:
    return {skipped.metric: skipped.reason for skipped in record.skipped}

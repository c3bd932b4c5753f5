"""Two sets of runs against each other: which metric moved, by how much, and whether that is noise.

Runs are matched by task, label, scale and seed, metrics by name and signature. A metric has moved when its relative
change exceeds its tolerance and, where both runs kept per-text statistics of the same texts, a paired bootstrap over
texts puts zero outside its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.errors import BenchError
from bench.records.schema import SPEED, Record, RecordedScore
from bench.records.store import StoredRun
from bench.score import Array, Bootstrap, Direction, PairedResult, PerTextMetric, paired_bootstrap

Verdict = Literal["ok", "regression", "improvement", "incomparable"]
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Comparison:
    """One metric of one run in both sets.

    Attributes:
        task: name of the task.
        label: the system's label.
        scale: name of the scale.
        seed: the run's seed.
        metric: name of the metric; ``status`` and ``tokens_per_second`` stand for the run as a whole.
        verdict: ``ok`` within tolerance or noise, otherwise what happened.
        first: value in the first set, None where there is none.
        second: value in the second set, None where there is none.
        tolerance: relative change that passes.
        paired: paired bootstrap over texts (first minus second), None where statistics are missing.
        reason: why the verdict is what it is, where figures do not say it.
    """

    task: str
    label: str
    scale: str
    seed: int
    metric: str
    verdict: Verdict
    first: float | None = None
    second: float | None = None
    tolerance: float = 0.0
    paired: PairedResult | None = None
    reason: str = ""

    @property
    def change(self) -> float | None:
        """Relative change from first to second, infinite from zero; None where a value is missing."""
        if self.first is None or self.second is None:
            return None
        return _relative_change(self.first, self.second)

    def __str__(self) -> str:
        """One line: verdict, cell, both values, and why."""
        line = f"{self.verdict}: {self.task} {self.label} {self.scale} seed {self.seed} {self.metric}"
        if self.change is not None:
            line += f" {self.first:.5g} -> {self.second:.5g} ({self.change:+.2%}, tolerance {self.tolerance:.2%}"
            line += f", paired p = {self.paired.p_value:.3g})" if self.paired else ")"
        return f"{line}: {self.reason}" if self.reason else line


def compare(
    first: Sequence[StoredRun],
    second: Sequence[StoredRun],
    metrics: Mapping[str, PerTextMetric[Any]] | None = None,
    bootstrap: Bootstrap | None = None,
    speed_tolerance: float = 0.25,
) -> list[Comparison]:
    """Compares every run of ``first`` with its counterpart in ``second``.

    Args:
        first: the reference runs.
        second: the runs under test.
        metrics: name to per-text metric, for paired tests; without it only tolerances decide.
        bootstrap: settings of the paired test.
        speed_tolerance: relative loss of training speed that passes, on equal machines.

    Returns:
        One comparison per metric of each matched run, one for its status if that differs, one for its speed, and one
        for each run that has no counterpart; in the order of the first set.

    Raises:
        BenchError: no run is in both sets, or a set holds a run twice.
    """
    ours, theirs = _by_key(first), _by_key(second)
    if not ours.keys() & theirs.keys():
        raise BenchError("nothing to compare: no run has the same task, label, scale and seed in both sets")
    result: list[Comparison] = []
    for key in dict.fromkeys([*ours, *theirs]):
        if key in ours and key in theirs:
            result += _compare_runs(key, ours[key], theirs[key], metrics or {}, bootstrap, speed_tolerance)
        else:
            place = "first" if key in ours else "second"
            result.append(Comparison(*key, "status", "incomparable", reason=f"the run is in the {place} set only"))
    return result


def exit_code(comparisons: Iterable[Comparison]) -> int:
    """Returns 1 if anything regressed, else 0."""
    return int(any(comparison.verdict == "regression" for comparison in comparisons))


def _by_key(runs: Sequence[StoredRun]) -> dict[Key, StoredRun]:
    found: dict[Key, StoredRun] = {}
    for run in runs:
        record = run.record
        key = (record.task, record.label, record.scale, record.seed)
        if key in found:
            raise BenchError(
                f"two runs of {record.task} {record.label} {record.scale} seed {record.seed} in one set:"
                f" {found[key].path} and {run.path}"
            )
        found[key] = run
    return found


def _compare_runs(
    key: Key,
    first: StoredRun,
    second: StoredRun,
    metrics: Mapping[str, PerTextMetric[Any]],
    bootstrap: Bootstrap | None,
    speed_tolerance: float,
) -> list[Comparison]:
    a, b = first.record, second.record
    if a.data.sha256 != b.data.sha256:
        reason = f"the data differ: sha256 {a.data.sha256[:12]} and {b.data.sha256[:12]}"
        return [Comparison(*key, "status", "incomparable", reason=reason)]
    if a.status != b.status:
        verdict: Verdict = "regression" if a.status == "finished" else "improvement"
        verdict = verdict if "finished" in (a.status, b.status) else "incomparable"
        reason = f"{a.status}, then {b.status}{f' ({b.reason})' if b.reason else ''}"
        return [Comparison(*key, "status", verdict, reason=reason)]
    statistics = (first.statistics(), second.statistics())
    counterparts = {(score.name, score.split, score.signature): score for score in b.metrics}
    result = []
    for score in a.metrics:
        counterpart = counterparts.get((score.name, score.split, score.signature))
        if counterpart is None:
            result.append(Comparison(*key, score.name, "incomparable", score.value, reason=_unmatched(score, b)))
            continue
        paired = _paired(score, metrics.get(score.name), *statistics, bootstrap)
        verdict = _verdict(score.value, counterpart.value, score.tolerance, score.direction, paired)
        values = (score.value, counterpart.value, score.tolerance)
        result.append(Comparison(*key, score.name, verdict, *values, paired))
    return result + _compare_speed(key, a, b, speed_tolerance)


def _unmatched(score: RecordedScore, other: Record) -> str:
    signatures = [s.signature for s in other.metrics if (s.name, s.split) == (score.name, score.split)]
    if signatures:
        return f"signatures differ: {score.signature} and {', '.join(signatures)}"
    reasons = [skipped.reason for skipped in other.skipped if skipped.metric == score.name]
    return f"not in the second run{f' ({reasons[0]})' if reasons else ''}"


def _paired(
    score: RecordedScore,
    metric: PerTextMetric[Any] | None,
    first: Mapping[str, Array],
    second: Mapping[str, Array],
    bootstrap: Bootstrap | None,
) -> PairedResult | None:
    rows, other = first.get(score.name), second.get(score.name)
    if metric is None or rows is None or other is None or rows.shape != other.shape:
        return None
    return paired_bootstrap(metric, rows, other, bootstrap)


def _verdict(
    first: float, second: float, tolerance: float, direction: Direction | None, paired: PairedResult | None
) -> Verdict:
    """A move where neither direction is better is a regression: nobody asked for it."""
    change = _relative_change(first, second)
    noise = paired is not None and paired.interval.low <= 0 <= paired.interval.high
    if abs(change) <= tolerance or noise:
        return "ok"
    if direction is None:
        return "regression"
    return "improvement" if (change > 0) == (direction == "up") else "regression"


def _relative_change(first: float, second: float) -> float:
    if first == second:
        return 0.0
    return (second - first) / abs(first) if first else math.copysign(math.inf, second)


def _compare_speed(key: Key, first: Record, second: Record, tolerance: float) -> list[Comparison]:
    a, b = first.training.get(SPEED), second.training.get(SPEED)
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return []
    machines = [(e.platform, e.device, e.threads, e.precision) for e in (first.environment, second.environment)]
    if machines[0] != machines[1]:
        described = " and ".join(", ".join(map(str, machine)) for machine in machines)
        return [Comparison(*key, SPEED, "incomparable", a, b, tolerance, reason=f"machines differ: {described}")]
    return [Comparison(*key, SPEED, _verdict(a, b, tolerance, "up", None), a, b, tolerance)]

"""Comparison of two sets of runs: which metrics changed, by how much, and whether the change is noise.

Runs are matched by task, label, scale and seed, metrics by name and signature. A metric has changed if its relative
change exceeds its tolerance, its absolute change exceeds the absolute one and, where both runs stored per-text
statistics of the same texts, zero lies outside the interval of a paired bootstrap over texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from bench.bootstrap import Array, Bootstrap, PairedResult, paired_bootstrap
from bench.errors import BenchError
from bench.metric import PerTextMetric
from bench.records.comparison import Comparison, Verdict, judge
from bench.records.differences import describe, differences, distinct_runs, same_key_error
from bench.records.schema import SPEED, Record, RecordedScore
from bench.records.store import StoredRun

ABSOLUTE_TOLERANCES = {"nats": 0.01, "bits": 0.01, "%": 0.05, "1": 1e-4}
"""Unit to the change that is accepted, however large it is relative to the value, for scores that do not carry one."""

RunKey = tuple[str, str, str, int]
"""Task, label, scale and seed."""


@dataclass(frozen=True)
class RunComparison(Comparison):
    """One metric of one run in both sets.

    Attributes:
        task: name of the task.
        label: label of the system.
        scale: name of the scale.
        seed: seed of the run.
        metric: name of the metric, or ``spec``, ``status`` or ``tokens_per_second`` of the whole run.
        paired: paired bootstrap over texts (first minus second), None if statistics are missing.
    """

    task: str
    label: str
    scale: str
    seed: int
    metric: str
    paired: PairedResult | None = None

    @property
    @override
    def subject(self) -> str:
        return f"{self.task} {self.label} {self.scale} seed {self.seed} {self.metric}"

    @property
    @override
    def note(self) -> str:
        return f"paired p = {self.paired.p_value:.3g}" if self.paired else ""


def compare_runs(
    first: Sequence[StoredRun],
    second: Sequence[StoredRun],
    metrics: Mapping[str, PerTextMetric[Any]] | None = None,
    bootstrap: Bootstrap | None = None,
) -> list[RunComparison]:
    """Compares every run of ``first`` with its counterpart in ``second``.

    Args:
        first: the reference runs.
        second: the runs under test.
        metrics: name to per-text metric, for paired tests; without it only the tolerances decide.
        bootstrap: settings of the paired test.

    Returns:
        For each matched run one comparison per metric and one of its speed, or one of its status if that differs, after
        one that names the entries of specs and components that differ, if any do; one for each run without a
        counterpart. The order is that of the first set.

    Raises:
        BenchError: no run is in both sets, or a set contains two different runs of one key.
    """
    in_first, in_second = _by_key(first), _by_key(second)
    if not in_first.keys() & in_second.keys():
        raise BenchError("nothing to compare: no run has the same task, label, scale and seed in both sets")
    result: list[RunComparison] = []
    for key in dict.fromkeys([*in_first, *in_second]):
        if key in in_first and key in in_second:
            result += _compare_pair(key, in_first[key], in_second[key], metrics or {}, bootstrap)
        else:
            which = "first" if key in in_first else "second"
            reason = f"the run is only in the {which} set"
            result.append(RunComparison(*key, "status", verdict="incomparable", reason=reason))
    return result


def _by_key(runs: Sequence[StoredRun]) -> dict[RunKey, StoredRun]:
    by_key: dict[RunKey, StoredRun] = {}
    for run in distinct_runs(runs, lambda run: run.record):
        record = run.record
        other = by_key.setdefault((record.task, record.label, record.scale, record.seed), run)
        if other is not run:
            key = f"{record.task} {record.label} {record.scale} seed {record.seed}"
            raise same_key_error(f"{other.path} and {run.path}: {key}", other.record, record)
    return by_key


def _compare_pair(
    key: RunKey,
    first: StoredRun,
    second: StoredRun,
    metrics: Mapping[str, PerTextMetric[Any]],
    bootstrap: Bootstrap | None,
) -> list[RunComparison]:
    a, b = first.record, second.record
    if a.data.sha256 != b.data.sha256:
        reason = f"the data differ: sha256 {a.data.sha256[:12]} and {b.data.sha256[:12]}"
        return [RunComparison(*key, "status", verdict="incomparable", reason=reason)]
    entries = {name: values for name, values in differences(a, b).items() if name != "spec.system.label"}
    result = []
    if entries:
        reason = f"the runs differ in {describe(entries)}"
        result.append(RunComparison(*key, "spec", verdict="incomparable", reason=reason))
    if a.status != b.status:
        verdict: Verdict = "regression" if a.status == "finished" else "improvement"
        verdict = verdict if "finished" in (a.status, b.status) else "incomparable"
        reason = f"{a.status}, then {b.status}{f' ({b.reason})' if b.reason else ''}"
        return [*result, RunComparison(*key, "status", verdict=verdict, reason=reason)]
    if a.status != "finished":
        # A system that a run does not fit, or that diverges, is a result, and the same one; a failure is none.
        verdict = "incomparable" if a.status == "failed" else "ok"
        result.append(RunComparison(*key, "status", verdict=verdict, reason=f"{a.status} in both sets ({b.reason})"))
    statistics = (first.statistics(), second.statistics())
    counterparts = {(score.name, score.split, score.signature): score for score in b.metrics}
    for score in a.metrics:
        counterpart = counterparts.get((score.name, score.split, score.signature))
        if counterpart is None:
            reason = _unmatched(score, b)
            result.append(RunComparison(*key, score.name, verdict="incomparable", first=score.value, reason=reason))
            continue
        paired = _paired_test(score, metrics.get(score.name), *statistics, bootstrap)
        absolute = score.absolute_tolerance or ABSOLUTE_TOLERANCES.get(score.unit, 0.0)
        noise = paired is not None and paired.interval.low <= 0 <= paired.interval.high
        result.append(
            RunComparison(
                *key,
                score.name,
                paired,
                verdict=judge(score.value, counterpart.value, score.tolerance, score.direction, noise, absolute),
                first=score.value,
                second=counterpart.value,
                tolerance=score.tolerance,
                absolute_tolerance=absolute,
            )
        )
    return result + _compare_speed(key, a, b)


def _unmatched(score: RecordedScore, other: Record) -> str:
    signatures = [s.signature for s in other.metrics if (s.name, s.split) == (score.name, score.split)]
    if signatures:
        return f"signatures differ: {score.signature} and {', '.join(signatures)}"
    reasons = [skipped.reason for skipped in other.skipped if skipped.metric == score.name]
    return f"not in the second run{f' ({reasons[0]})' if reasons else ''}"


def _paired_test(
    score: RecordedScore,
    metric: PerTextMetric[Any] | None,
    first: Mapping[str, Array],
    second: Mapping[str, Array],
    bootstrap: Bootstrap | None,
) -> PairedResult | None:
    rows, other = first.get(score.name), second.get(score.name)
    if metric is None or rows is None or other is None or rows.shape != other.shape:
        return None
    return paired_bootstrap(metric.aggregate, rows, other, bootstrap)


def _compare_speed(key: RunKey, first: Record, second: Record) -> list[RunComparison]:
    """Returns both speeds without a judgement: on one machine, unchanged code varies several times over."""
    a, b = first.training.get(SPEED), second.training.get(SPEED)
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return []
    reason = "not judged; it depends on the machine and on what else runs there"
    return [RunComparison(*key, SPEED, verdict="ok", first=a, second=b, tolerance=math.inf, reason=reason)]

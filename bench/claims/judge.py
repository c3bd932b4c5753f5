"""Whether claims hold: contrasts on sets of records, and verdicts with the family-wise error of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from bench.claims.claim import Claim
from bench.claims.contrast import Contrast, contrast
from bench.metric import PerTextMetric
from bench.records.differences import distinct_runs
from bench.records.doubts import training_ends
from bench.records.store import StoredRun
from bench.significance import holm

Verdict = Literal["holds", "does not hold", "undecided"]

ERROR: Final = 0.05
"""Family-wise: the chance that any contrast without a difference gets a verdict."""


@dataclass(frozen=True)
class Finding:
    """A contrast that a claim is about, in one set of records.

    Attributes:
        claim: the claim.
        name: of the set of records.
        task: of the row.
        metric: that is compared.
        other: label of the other row, with its task if that is another; or the number.
        contrast: row minus other.
        p_value: of the contrast, adjusted for all contrasts (Holm 1979).
        doubt: why no verdict is given whatever the p-value is; empty if there is no reason.
    """

    claim: Claim
    name: str
    task: str
    metric: str
    other: str
    contrast: Contrast
    p_value: float
    doubt: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the contrast says of the claim."""
        if self.doubt or self.p_value >= ERROR:
            return "undecided"
        return "holds" if (self.contrast.difference > 0) == (self.claim.relation == "above") else "does not hold"


def judge(
    claims: Sequence[Claim], sets: Mapping[str, Sequence[StoredRun]], per_text: Mapping[str, PerTextMetric[Any]]
) -> list[Finding]:
    """Returns a finding for each contrast that the records allow, claim by claim, set by set.

    A contrast of one seed is undecided, and so is one with runs whose training had not ended.

    Args:
        claims: of a paper.
        sets: name to runs; the runs of a row differ only in the seed within a set.
        per_text: name to per-text metric.

    Raises:
        BenchError: a file beside a record is damaged.
    """
    rows_of = {name: _rows(runs) for name, runs in sets.items()}
    falling = {run for runs in sets.values() for run, end in training_ends(runs).items() if end.is_still_falling}
    findings = [
        finding
        for claim in claims
        for name, rows in rows_of.items()
        for finding in _findings(claim, name, rows, falling, per_text)
    ]
    adjusted = holm([finding.p_value for finding in findings])
    return [replace(finding, p_value=p) for finding, p in zip(findings, adjusted, strict=True)]


_Rows = Mapping[tuple[str, str, str], Sequence[StoredRun]]
"""(scale, task, label) to the finished runs."""


def _rows(runs: Sequence[StoredRun]) -> _Rows:
    rows: dict[tuple[str, str, str], list[StoredRun]] = {}
    for run in distinct_runs(runs, lambda run: run.record):
        if (record := run.record).status == "finished":
            rows.setdefault((record.scale, record.task, record.label), []).append(run)
    return rows


def _findings(
    claim: Claim, name: str, rows: _Rows, falling: set[str], per_text: Mapping[str, PerTextMetric[Any]]
) -> Iterator[Finding]:
    for (scale, task, label), runs in rows.items():
        if label != claim.row or (claim.tasks and task != claim.tasks[0]):
            continue
        task_of_others = claim.tasks[1] if claim.tasks else task
        others: dict[str, Sequence[StoredRun] | float] = {}
        if isinstance(claim.than, float):
            others[f"{claim.than:g}"] = claim.than
        else:
            for other in claim.than:
                title = f"{other} on {task_of_others}" if claim.tasks else other
                others[title] = rows.get((scale, task_of_others, other), ())
        for metric in claim.metrics:
            for title, other_runs in others.items():
                if (found := contrast(runs, other_runs, metric, per_text)) is None:
                    continue
                used = [*runs, *(() if isinstance(other_runs, float) else other_runs)]
                doubt = "one seed" if found.n_seeds == 1 else ""
                if any(run.record.run_id in falling for run in used):
                    doubt = "training had not ended"
                yield Finding(claim, name, task, metric, title, found, found.p_value, doubt)

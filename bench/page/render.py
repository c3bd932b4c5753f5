"""Renders the page: the template with the tables, then style, data and scripts in the same file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from importlib.resources import files
from typing import Any

from bench.audit import audit, rows_of_runs
from bench.escape import json_in_html
from bench.page.content import columns_of, content_of
from bench.page.summary import QUESTIONS, summary_lines
from bench.records.published import PublishedFigures
from bench.records.schema import Record
from bench.records.store import StoredRun
from bench.report.grids import grids_of, rows_of
from bench.templates import content_policy, environment

LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")
SCRIPT, STYLE, TEMPLATE = "page.js", "page.css", "page.html"


@dataclass(frozen=True)
class Gap:
    """Something that was not measured.

    Attributes:
        kind: ``failed``, ``diverged`` or ``skipped``.
        what: the runs, or the metric.
        reason: as recorded.
        runs: how many have it.
    """

    kind: str
    what: str
    reason: str
    runs: int = 1


def render_page(runs: Sequence[StoredRun], title: str = "", published: PublishedFigures | None = None) -> str:
    """Returns the page of some runs.

    Args:
        runs: of any folders, tasks and scales.
        title: heading; by default the name of the program.
        published: figures of papers; by default those that are part of the package.

    Raises:
        BenchError: runs of one folder contradict each other, or a file beside a record is damaged.
    """
    grids = grids_of(runs, published)
    rows = [row for grid in grids for row in rows_of(grid)]
    columns = columns_of(rows)
    records = [record for grid in grids for record in grid.records]
    scripts = [_read(name) for name in (*LIBRARIES, SCRIPT)]
    filters: dict[str, Callable[..., str]] = {"duration": duration, "size": size, "count": count, "values": _values}
    return (
        environment("bench.page", filters)
        .get_template(TEMPLATE)
        .render(
            title=title or "della-bench",
            policy=content_policy(scripts),
            style=_read(STYLE),
            scripts=scripts,
            data=json_in_html(content_of(rows, columns)),
            rows=rows,
            columns=columns,
            printed=list(dict.fromkeys(metric for row in rows for metric in row.published_of)),
            questions=QUESTIONS,
            summary=list(summary_lines(rows)),
            statuses=Counter(record.status for record in records),
            seconds=sum(timing.seconds for record in records for timing in record.timings),
            gaps=list(_gaps(records)),
            findings=audit(rows_of_runs(runs)),
            grids=grids,
            dates=[f"{of(r.created for r in records).astimezone(UTC):%Y-%m-%d}" for of in (min, max)],
        )
    )


def _read(name: str) -> str:
    return (files("bench.page") / name).read_text(encoding="utf-8").strip()


def _gaps(records: Sequence[Record]) -> Iterator[Gap]:
    """Yields the runs that did not finish, then the metrics that were skipped, the most frequent reasons first."""
    for record in records:
        if record.status != "finished":
            yield Gap(record.status, f"{record.task}: {record.label}, seed {record.seed}", record.reason or "")
    skipped = Counter((skip.metric, skip.reason) for record in records for skip in record.skipped)
    metrics: dict[tuple[str, int], list[str]] = {}
    for (metric, reason), number in skipped.items():
        metrics.setdefault((reason, number), []).append(metric)
    for (reason, number), names in sorted(metrics.items(), key=lambda entry: -entry[0][1]):
        yield Gap("skipped", ", ".join(names), reason, number)


def duration(seconds: float | None) -> str:
    """Returns a duration in the largest unit of which it is at least two, for example ``3.5 h``; empty for None."""
    if seconds is None:
        return ""
    unit, length = next(((u, n) for u, n in (("d", 86400), ("h", 3600), ("min", 60)) if seconds >= 2 * n), ("s", 1))
    value = seconds / length
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def size(n_bytes: int | None) -> str:
    """Returns a number of bytes in MB or GB; empty for None."""
    if n_bytes is None:
        return ""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def count(number: int | None) -> str:
    """Returns a number with the letter of thousands or millions, for example ``2.6 M``; empty for None."""
    if number is None:
        return ""
    letter, divisor = next(((c, n) for c, n in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if number >= n), ("", 1.0))
    return f"{number / divisor:.3g} {letter}".rstrip()


def _values(records: Sequence[Record], *names: str) -> str:
    """Returns the different values of an attribute of records, comma-separated, for example ``cpu, H100``."""
    found: dict[str, None] = {}
    for record in records:
        value: Any = record
        for name in names:
            value = getattr(value, name)
        if value is not None:
            found[str(value)] = None
    return ", ".join(found) or "not recorded"

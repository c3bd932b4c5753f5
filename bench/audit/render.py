"""Renders findings as text, Markdown and JSON, and replaces those in a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, get_args

from bench.audit.findings import Finding, Severity
from bench.audit.rows import AuditRow
from bench.audit.rules import RULES
from bench.errors import unknown_name
from bench.escape import json_text, line, markdown

MOST_UNREAD: Final = 10
"""Up to so many figures that are no numbers are printed."""


def summary(findings: Sequence[Finding], rows: Sequence[AuditRow] | None) -> str:
    """Returns the number of findings, and of figures in the rows: ``2 impossible, …; 9 figures read, 1 not: 100k``."""
    counts = Counter(finding.severity for finding in findings)
    text = ", ".join(f"{counts[severity]} {severity}" for severity in get_args(Severity))
    if rows is None:
        return text
    unread = [figure for row in rows for figure in row.unread]
    names = list(dict.fromkeys(unread))
    more = ", …" if len(names) > MOST_UNREAD else ""
    not_read = f", {len(unread)} not: {', '.join(names[:MOST_UNREAD])}{more}" if unread else ""
    return f"{text}; {sum(len(row.figures) for row in rows)} figures read{not_read}"


def findings_as_text(findings: Sequence[Finding], rows: Sequence[AuditRow] | None) -> str:
    """Returns two lines per finding, a line per run without figures, and a summary."""
    lines = []
    for f in findings:
        lines += [f"{f.severity} ({f.rule}) {f.location}", f"    {f.figures}: {f.reason}"]
    for row in rows or ():
        lines += [f"no figures {row.location}", f"    {row.lost}"] if row.lost else []
    return "\n".join(map(line, [*lines, summary(findings, rows)])) + "\n"


def findings_as_json(findings: Sequence[Finding], rows: Sequence[AuditRow] | None) -> str:
    """Returns a JSON array with an object per finding."""
    objects = [
        {"rule": f.rule, "severity": f.severity, **vars(f.location), "figures": f.figures, "reason": f.reason}
        for f in findings
    ]
    return json_text(objects, indent=2) + "\n"


def findings_as_markdown(findings: Sequence[Finding], rows: Sequence[AuditRow] | None) -> str:
    """Returns a table for each severity and table of a source, and the broken rules."""
    return "\n".join(_markdown_lines(findings, rows)) + "\n"


def _markdown_lines(findings: Sequence[Finding], rows: Sequence[AuditRow] | None) -> Iterator[str]:
    yield f"{markdown(summary(findings, rows))}."
    if lost := [row for row in rows or () if row.lost]:
        yield from ("", *(f"- No figures: {markdown(f'{row.location}: {row.lost}')}" for row in lost))
    for severity, of_severity in groupby(findings, key=lambda finding: finding.severity):
        yield from ("", f"### {severity.capitalize()}")
        for (source, table), of_table in groupby(of_severity, key=lambda f: (f.location.source, f.location.table)):
            yield from ("", f"**{markdown(source)}, {markdown(table)}**", "")
            yield from ("| where | figures | why | rule |", "| --- | --- | --- | --- |")
            for finding in of_table:
                row = f": {finding.location.row}" if finding.location.row else ""
                cells = [
                    markdown(cell) for cell in (f"{finding.location.dataset}{row}", finding.figures, finding.reason)
                ]
                cells[1] = cells[1].replace("; ", "<br>")
                yield f"| {' | '.join(cells)} | `{finding.rule}` |"
    broken = {finding.rule for finding in findings}
    if broken:
        yield from ("", "### The rules that are broken", "")
    yield from (f"- `{rule.name}`: {rule.explanation}" for rule in RULES if rule.name in broken)


FORMATS: Final[Mapping[str, Callable[[Sequence[Finding], Sequence[AuditRow] | None], str]]] = {
    "term": findings_as_text,
    "md": findings_as_markdown,
    "json": findings_as_json,
}


def render_findings(findings: Sequence[Finding], form: str, rows: Sequence[AuditRow] | None = None) -> str:
    """Returns findings as text in one of ``FORMATS``; with ``rows`` it counts the figures that were read.

    Raises:
        BenchError: unknown format.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    return FORMATS[form](findings, rows)

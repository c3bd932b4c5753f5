"""Renders findings as text, Markdown and JSON, and replaces those in a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, get_args

from bench.audit.findings import Finding, Severity
from bench.audit.rules import RULES
from bench.errors import BenchError, unknown_name
from bench.reading import read_text
from bench.storage import atomic_write

BLOCK_COMMENTS: Final = ("<!-- audit -->", "<!-- /audit -->")
"""They enclose the findings in a page of documentation."""

ESCAPED_BAR: Final = r"\|"


def summary(findings: Sequence[Finding]) -> str:
    """Returns the number of findings by severity, for example ``2 impossible, 0 suspicious``."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(f"{counts[severity]} {severity}" for severity in get_args(Severity))


def findings_as_text(findings: Sequence[Finding]) -> str:
    """Returns two lines per finding and a summary."""
    lines = [f"{f.severity} ({f.rule}) {f.location}\n    {f.figures}: {f.reason}" for f in findings]
    return "\n".join([*lines, summary(findings)]) + "\n"


def findings_as_json(findings: Sequence[Finding]) -> str:
    """Returns a JSON array with an object per finding."""
    objects = [
        {"rule": f.rule, "severity": f.severity, **vars(f.location), "figures": f.figures, "reason": f.reason}
        for f in findings
    ]
    return json.dumps(objects, indent=2, ensure_ascii=False) + "\n"


def findings_as_markdown(findings: Sequence[Finding]) -> str:
    """Returns a table for each severity and table of a source, and the broken rules."""
    return "\n".join(_markdown_lines(findings)) + "\n"


def _markdown_lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield f"{summary(findings)}."
    for severity, of_severity in groupby(findings, key=lambda finding: finding.severity):
        yield from ("", f"### {severity.capitalize()}")
        for (source, table), of_table in groupby(of_severity, key=lambda f: (f.location.source, f.location.table)):
            yield from ("", f"**{source}, {table}**", "")
            yield from ("| where | figures | why | rule |", "| --- | --- | --- | --- |")
            for finding in of_table:
                row = f": {finding.location.row}" if finding.location.row else ""
                figures = finding.figures.replace("; ", "<br>")
                cells = (f"{finding.location.dataset}{row}", figures, finding.reason, f"`{finding.rule}`")
                yield f"| {' | '.join(cell.replace('|', ESCAPED_BAR) for cell in cells)} |"
    broken = {finding.rule for finding in findings}
    if broken:
        yield from ("", "### The rules that are broken", "")
    yield from (f"- `{rule.name}`: {rule.explanation}" for rule in RULES if rule.name in broken)


FORMATS: Final[Mapping[str, Callable[[Sequence[Finding]], str]]] = {
    "term": findings_as_text,
    "md": findings_as_markdown,
    "json": findings_as_json,
}


def render_findings(findings: Sequence[Finding], form: str) -> str:
    """Returns findings as text in one of ``FORMATS``.

    Raises:
        BenchError: unknown format.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    return FORMATS[form](findings)


def replace_block(page: Path, text: str) -> None:
    """Replaces the text between the two ``BLOCK_COMMENTS`` of a page.

    Raises:
        BenchError: the page cannot be read or written, or lacks the comments.
    """
    begin, end = BLOCK_COMMENTS
    before, _, rest = read_text(page).partition(begin)
    _, end_comment, after = rest.partition(end)
    if not end_comment:
        raise BenchError(f"{page}: no line {begin} with a line {end} after it.")
    atomic_write(page, f"{before}{begin}\n{text}{end}{after}".encode())

"""Findings as text, Markdown and JSON; and into a page that holds them between two marks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, get_args

from bench.audit.findings import Finding, Severity
from bench.audit.rules import RULES
from bench.errors import BenchError, unknown_name
from bench.reading import read_text
from bench.storage import atomic_write

MARKS: Final = ("<!-- audit -->", "<!-- /audit -->")
"""Around the findings in a page that also says other things."""

BAR: Final = r"\|"


def summary(findings: Sequence[Finding]) -> str:
    """Returns how many findings there are, for example ``2 impossible, 0 suspicious``."""
    return ", ".join(
        f"{sum(one.severity == severity for one in findings)} {severity}" for severity in get_args(Severity)
    )


def as_text(findings: Sequence[Finding]) -> str:
    """Returns two lines per finding and a summary."""
    lines = [f"{one.severity} ({one.rule}) {one.place}\n    {one.figures}: {one.reason}" for one in findings]
    return "\n".join([*lines, summary(findings)]) + "\n"


def as_json(findings: Sequence[Finding]) -> str:
    """Returns a JSON array with an object per finding."""
    return json.dumps([finding.as_dict() for finding in findings], indent=2, ensure_ascii=False) + "\n"


def as_markdown(findings: Sequence[Finding]) -> str:
    """Returns a table for each severity and table of a source, and the rules that are broken."""
    return "\n".join(_markdown(findings)) + "\n"


def _markdown(findings: Sequence[Finding]) -> Iterator[str]:
    yield f"{summary(findings)}."
    for severity, of_severity in groupby(findings, key=lambda one: one.severity):
        yield from ("", f"### {severity.capitalize()}")
        for (source, table), group in groupby(of_severity, key=lambda one: (one.place.source, one.place.table)):
            yield from (
                "",
                f"**{source}, {table}**",
                "",
                "| where | figures | why | rule |",
                "| --- | --- | --- | --- |",
            )
            for one in group:
                where = f"{one.place.dataset}: {one.place.row}" if one.place.row else one.place.dataset
                cells = (where, one.figures.replace("; ", "<br>"), one.reason, f"`{one.rule}`")
                yield f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"
    broken = {one.rule for one in findings}
    if broken:
        yield from ("", "### The rules that are broken", "")
    yield from (f"- `{rule.name}`: {rule.explanation}" for rule in RULES if rule.name in broken)


FORMATS: Final[Mapping[str, Callable[[Sequence[Finding]], str]]] = {
    "term": as_text,
    "md": as_markdown,
    "json": as_json,
}


def render(findings: Sequence[Finding], form: str) -> str:
    """Returns findings in one of ``FORMATS``.

    Raises:
        BenchError: no such format.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    return FORMATS[form](findings)


def put_into(page: Path, text: str) -> None:
    """Replaces what stands between the two ``MARKS`` of a page.

    Raises:
        BenchError: the page cannot be read or written, or lacks the marks.
    """
    before, _, rest = read_text(page).partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    if not mark:
        raise BenchError(f"{page}: no line {MARKS[0]} with a line {MARKS[1]} after it.")
    atomic_write(page, f"{before}{MARKS[0]}\n{text}{mark}{after}".encode())

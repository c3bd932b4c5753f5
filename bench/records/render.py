"""Renders a comparison for the terminal, for a job summary, for machines and for viewers of test results."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Final, get_args

from bench.errors import unknown_name
from bench.escape import json_text, line, markdown, terminal
from bench.records.comparison import (
    CANNOT_COMPARE,
    FINE,
    WORSE,
    ComparedSets,
    Comparison,
    Verdict,
    counts_line,
)

MOST_ROWS: Final = 100
"""Rows of the Markdown table; a job summary has room for about a thousand."""

_FIRST_OF_ALL: Final[tuple[Verdict, ...]] = ("regression", "incomparable", "improvement", "allowed")
_QUIET: Final[tuple[Verdict, ...]] = ("ok", "unjudged")
_JUNIT_ELEMENTS: Final[Mapping[Verdict, str]] = {
    "regression": "failure",
    "incomparable": "error",
    "allowed": "skipped",
    "unjudged": "skipped",
}
_OUTCOMES: Final = {FINE: "nothing got worse", WORSE: "something got worse", CANNOT_COMPARE: "cannot be compared"}


def _remarks(compared: ComparedSets) -> Iterator[str]:
    yield from compared.remarks
    if compared.nothing_judged:
        yield "no value was compared"


def as_text(compared: ComparedSets, verbose: bool = False) -> str:
    """Returns a line for each comparison that is not ok, or for each, then remarks and counts."""
    lines = [
        line(str(comparison)) for comparison in compared.comparisons if verbose or comparison.verdict not in _QUIET
    ]
    return "\n".join([*lines, *map(line, _remarks(compared)), counts_line(compared)]) + "\n"


def as_markdown(compared: ComparedSets, verbose: bool = False) -> str:
    """Returns outcome and counts, then a table of what is not ok, or of everything; the first rows of many."""
    rows = [comparison for comparison in compared.comparisons if verbose or comparison.verdict not in _QUIET]
    order = {verdict: place for place, verdict in enumerate(_FIRST_OF_ALL)}
    rows.sort(key=lambda comparison: order.get(comparison.verdict, len(order)))
    return "\n".join(_markdown_lines(compared, rows)) + "\n"


def _markdown_lines(compared: ComparedSets, rows: list[Comparison]) -> Iterator[str]:
    yield f"### Comparison: {_OUTCOMES[compared.exit_code]} (exit code {compared.exit_code})"
    yield from ("", counts_line(compared) + ".")
    for remark in _remarks(compared):
        yield from ("", markdown(remark) + ".")
    if not rows:
        return
    yield from ("", "| verdict | what | first | second | change | why |", "| --- | --- | ---: | ---: | ---: | --- |")
    for row in rows[:MOST_ROWS]:
        values = ("" if value is None else f"{value:.5g}" for value in (row.first, row.second))
        change = "" if row.change is None else f"{row.change:+.2%}"
        why = "; ".join(filter(None, (row.explanation, row.reason)))
        yield f"| {' | '.join((row.verdict, markdown(row.subject), *values, change, markdown(why)))} |"
    if len(rows) > MOST_ROWS:
        yield from ("", f"{len(rows) - MOST_ROWS} more.")


def as_json(compared: ComparedSets, verbose: bool = False) -> str:
    """Returns an object with exit code, counts, remarks and an object for each comparison, ok ones too."""
    content = {
        "exit_code": compared.exit_code,
        "counts": {verdict: compared.counts[verdict] for verdict in get_args(Verdict)},
        "remarks": [*_remarks(compared)],
        "comparisons": [_object(comparison) for comparison in compared.comparisons],
    }
    return json_text(content, indent=2) + "\n"


def _object(comparison: Comparison) -> dict[str, Any]:
    content = {"subject": comparison.subject, **vars(comparison), "change": comparison.change}
    return {key: _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    """Returns a value of strict JSON; a number that is not finite is null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(each) for key, each in asdict(value).items()}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_junit(compared: ComparedSets, verbose: bool = False) -> str:
    """Returns JUnit XML: a test case for each comparison.

    A regression is a failure, what cannot be compared an error, what is allowed or not judged is skipped. If no value
    was compared, a test case of its own is an error.
    """
    cases = [(c.subject, _JUNIT_ELEMENTS.get(c.verdict), str(c)) for c in compared.comparisons]
    if compared.nothing_judged:
        cases.append(("all values", "error", "no value was compared"))
    of_suite = {"name": "della-bench compare", "tests": str(len(cases))}
    for attribute, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        of_suite[attribute] = str(sum(kind == element for _, kind, _ in cases))
    suite = ET.Element("testsuite", of_suite)
    for subject, kind, message in cases:
        case = ET.SubElement(suite, "testcase", {"classname": "compare", "name": terminal(subject)})
        if kind:
            ET.SubElement(case, kind, {"message": terminal(message)})
    if remarks := [*_remarks(compared)]:
        ET.SubElement(suite, "system-out").text = terminal("\n".join(remarks))
    ET.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suite, encoding="unicode")}\n'


FORMATS: Final[Mapping[str, Callable[[ComparedSets, bool], str]]] = {
    "term": as_text,
    "md": as_markdown,
    "json": as_json,
    "junit": as_junit,
}


def check_format(form: str) -> None:
    """Checks the name of a format.

    Raises:
        BenchError: unknown format.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)


def render_comparison(compared: ComparedSets, form: str, verbose: bool = False) -> str:
    """Returns a comparison as text in one of ``FORMATS``; ``verbose`` prints what did not change too.

    Raises:
        BenchError: unknown format.
    """
    check_format(form)
    return FORMATS[form](compared, verbose)

"""Renderings are read back: JSON by the json module, XML by an XML parser, Markdown as rows of cells."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bootstrap import Interval, PairedResult
from bench.errors import BenchError
from bench.escape import one_line, terminal
from bench.records.compare import RunComparison
from bench.records.comparison import ComparedSets
from bench.records.render import FORMATS, MOST_ROWS, render_comparison

KEY = ("ptb", "della", "smoke", 0)
PAIRED = PairedResult(-5.0, Interval(-6.0, -4.0), 0.001)
OK = RunComparison(*KEY, "Rec", verdict="ok", first=1.0, second=1.001, tolerance=0.02)
WORSE = RunComparison(*KEY, "PPL", PAIRED, verdict="regression", first=20.0, second=25.0, tolerance=0.02)
FROM_ZERO = RunComparison(*KEY, "KL", verdict="regression", first=0.0, second=1.0, absolute_tolerance=0.01)
LOST = RunComparison(*KEY, "AU", verdict="incomparable", obstacle="missing", reason="4, then no value")
BETTER = RunComparison(*KEY, "ESS", verdict="improvement", first=1.0, second=2.0, tolerance=0.02)
ALLOWED = replace(LOST, metric="MI", verdict="allowed")
SPEED = RunComparison(*KEY, "speed", verdict="unjudged", first=1.0, second=9.0, tolerance=math.inf, reason="not judged")
ALL = ComparedSets((OK, WORSE, FROM_ZERO, LOST, BETTER, ALLOWED, SPEED), ("machines differ",))
NOTHING = ComparedSets((SPEED,))
COUNTS = "1 ok, 2 regression, 1 improvement, 1 incomparable, 1 allowed, 1 unjudged"


def test_text_names_what_is_not_ok_and_counts_everything() -> None:
    assert render_comparison(ALL, "term").splitlines() == [
        "regression: ptb della smoke seed 0 PPL 20 -> 25 (+25.00%, tolerance 2.00%, paired p = 0.001)",
        "regression: ptb della smoke seed 0 KL 0 -> 1 (+inf%, tolerance 0.01)",
        "incomparable: ptb della smoke seed 0 AU: 4, then no value",
        "improvement: ptb della smoke seed 0 ESS 1 -> 2 (+100.00%, tolerance 2.00%)",
        "allowed: ptb della smoke seed 0 MI: 4, then no value",
        "machines differ",
        COUNTS,
    ]
    assert len(render_comparison(ALL, "term", verbose=True).splitlines()) == 9
    assert render_comparison(ComparedSets((OK,)), "term") == "1 ok, 0 regression, 0 improvement, 0 incomparable\n"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_that_nothing_was_compared(form: str) -> None:
    assert "no value was compared" in render_comparison(NOTHING, form)
    assert "no value was compared" not in render_comparison(ALL, form)


def cells(line: str) -> list[str]:
    """What a row of a Markdown table shows."""
    parts = re.split(r"(?<!\\)\|", line)[1:-1]
    return [re.sub(r"\\(.)", r"\1", part).strip() for part in parts]


def test_markdown_is_short_and_shows_the_worst_first() -> None:
    lines = render_comparison(ALL, "md").splitlines()
    assert lines[0] == "### Comparison: something got worse (exit code 1)"
    assert lines[2:5] == [f"{COUNTS}.", "", "machines differ."]
    rows = [cells(line) for line in lines if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["regression", "regression", "incomparable", "improvement", "allowed"]
    assert rows[2] == [
        *("regression", "ptb della smoke seed 0 PPL", "20", "25", "+25.00%", "tolerance 2.00%, paired p = 0.001")
    ]
    assert rows[4] == ["incomparable", "ptb della smoke seed 0 AU", "", "", "", "4, then no value"]
    fine = render_comparison(ComparedSets((OK,)), "md")
    assert fine == (
        "### Comparison: nothing got worse (exit code 0)\n\n1 ok, 0 regression, 0 improvement, 0 incomparable.\n"
    )
    assert render_comparison(NOTHING, "md").startswith("### Comparison: cannot be compared (exit code 3)\n")


def test_markdown_shows_the_first_rows_of_many() -> None:
    many = ComparedSets((BETTER,) * MOST_ROWS + (WORSE,) * 7)
    lines = render_comparison(many, "md").splitlines()
    assert sum(line.startswith("| regression") for line in lines) == 7
    assert sum(line.startswith("| improvement") for line in lines) == MOST_ROWS - 7
    assert lines[-1] == "7 more."


ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_no_text_leaves_its_cell(text: str) -> None:
    compared = ComparedSets((replace(LOST, reason=text),))
    (row,) = (line for line in render_comparison(compared, "md").split("\n") if line.startswith("| incomparable"))
    assert cells(row)[-1] == one_line(text)


@given(ANY_TEXT)
def test_no_text_leaves_its_line(text: str) -> None:
    compared = ComparedSets((replace(LOST, reason=f"<{text}>"), OK))
    first, counts = render_comparison(compared, "term").splitlines()
    assert first.startswith("incomparable: ptb della smoke seed 0 AU: <")
    assert counts.startswith("1 ok")


def test_json_is_strict_and_complete() -> None:
    content = json.loads(render_comparison(ALL, "json"), parse_constant=pytest.fail)
    assert content["exit_code"] == 1
    assert content["counts"] == {
        "ok": 1, "regression": 2, "improvement": 1, "incomparable": 1, "allowed": 1, "unjudged": 1
    }  # fmt: skip
    assert content["remarks"] == ["machines differ"]
    worse, lost, speed = (content["comparisons"][place] for place in (1, 3, 6))
    assert worse == {
        "subject": "ptb della smoke seed 0 PPL",
        "task": "ptb",
        "label": "della",
        "scale": "smoke",
        "seed": 0,
        "metric": "PPL",
        "verdict": "regression",
        "obstacle": None,
        "first": 20.0,
        "second": 25.0,
        "change": 0.25,
        "reason": "",
        "tolerance": 0.02,
        "absolute_tolerance": 0.0,
        "machines": "",
        "signature": "",
        "paired": {
            "difference": -5.0,
            "interval": {"low": -6.0, "high": -4.0, "level": 0.95, "method": "bootstrap"},
            "p_value": 0.001,
        },
    }
    assert (lost["verdict"], lost["obstacle"], lost["first"], lost["change"]) == ("incomparable", "missing", None, None)
    assert speed["tolerance"] is None
    assert content["comparisons"][2]["change"] is None


def test_junit_has_a_case_for_each_comparison() -> None:
    suite = ET.fromstring(render_comparison(ALL, "junit"))  # noqa: S314
    assert suite.tag == "testsuite"
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "2",
        "errors": "1",
        "skipped": "2",
    }
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [comparison.subject for comparison in ALL.comparisons]
    assert [[child.tag for child in case] for case in cases] == [
        *([], ["failure"], ["failure"], ["error"], [], ["skipped"], ["skipped"])
    ]
    assert cases[1][0].get("message") == str(WORSE)
    assert suite.findtext("system-out") == "machines differ"
    (speed, alone) = ET.fromstring(render_comparison(NOTHING, "junit")).findall("testcase")  # noqa: S314
    assert ([child.tag for child in speed], [child.tag for child in alone]) == (["skipped"], ["error"])


@given(ANY_TEXT)
def test_junit_is_xml_whatever_the_text(text: str) -> None:
    """XML 1.0 holds neither most control characters nor surrogates."""
    lost = replace(LOST, reason=text)
    suite = ET.fromstring(render_comparison(ComparedSets((lost,)), "junit").encode())  # noqa: S314
    assert suite.find("testcase/error").get("message") == terminal(str(lost))


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(BenchError, match=r"unknown format 'junot'\. Did you mean 'junit'\?"):
        render_comparison(ALL, "junot")

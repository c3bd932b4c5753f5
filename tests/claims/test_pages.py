"""The pages of results are what the commands make of the reference records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.claims import Finding, judge, read_claims, render_claims
from bench.metric import PerTextMetric
from bench.metrics.model import model_metrics
from bench.records.doubts import training_ends
from bench.records.store import load_runs
from bench.report import narrow_layout
from bench.report.leaderboard import render_leaderboard
from bench.suites import load_suite
from tests.reference_records import REFERENCE, needs_reference

ROOT = REFERENCE.parents[1]
COMMAND = re.compile(r"^della-bench claims (results/reference/.*) --format md --into docs/claims.md$", re.MULTILINE)


def block(page: Path, name: str) -> str:
    return page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    command = COMMAND.search((ROOT / "docs" / "claims.md").read_text(encoding="utf-8"))
    assert command is not None
    folders = [ROOT / name for name in command[1].split()]
    per_text = {metric.name: metric for metric in model_metrics() if isinstance(metric, PerTextMetric)}
    return judge(read_claims(), {folder.name: load_runs([folder]) for folder in folders}, per_text)


@needs_reference
@pytest.mark.parametrize(("page", "form"), [("docs/claims.md", "md"), ("README.md", "summary")])
def test_the_pages_of_claims_are_what_the_records_say(findings: list[Finding], page: str, form: str) -> None:
    assert block(ROOT / page, "claims") == render_claims(read_claims(), findings, form), "out of date: docs/claims.md"


@needs_reference
def test_the_leaderboard_is_what_the_records_say() -> None:
    runs = load_runs([REFERENCE / "leaderboard-study"])
    records, layout = [run.record for run in runs], load_suite("leaderboard").layout
    assert layout is not None
    text = render_leaderboard(records, narrow_layout(layout, records) or layout, training_ends(runs))
    assert block(ROOT / "results" / "README.md", "leaderboard") == text, (
        "out of date: results/README.md names the command"
    )

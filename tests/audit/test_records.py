"""Audit rows of records, and the formats of findings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.audit import Finding, Location, audit, render_findings, rows_of_runs
from bench.bootstrap import Array, Interval
from bench.errors import BenchError
from bench.metric import Score
from bench.records.schema import Record
from bench.records.store import RecordStore, StoredRun
from bench.storage import replace_block

STATISTICS = {
    "PPL": np.array([[20.0, 5.0], [40.0, 10.0]]),
    "ELBO": np.array([[21.0], [40.5]]),
    "KL": np.array([[2.0], [3.0]]),
    "MI": np.array([[0.5], [0.6]]),
}


def score(name: str, value: float, fields: str = "K:30", interval: Interval | None = None) -> Score:
    return Score(name, value, "1", "down", 2, f"{name}|{fields}|n:2|v:1", interval=interval)


@pytest.fixture
def stored(tmp_path: Path, make_record: Callable[..., Record]) -> Callable[..., StoredRun]:
    """Stores a record with these scores."""

    def store(*scores: Score, statistics: dict[str, Array] | None = None, **changes: Any) -> StoredRun:
        metrics = [{**vars(s), "interval": s.interval and vars(s.interval)} for s in scores]
        record = make_record(metrics=metrics, **changes)
        return RecordStore(tmp_path).write(record, statistics)

    return store


def test_a_record_is_a_row(stored: Callable[..., StoredRun], make_record: Callable[..., Record]) -> None:
    data = make_record().data.model_dump(mode="json")
    data["statistics"] = {"tokens": {"test": 15}, "test": {"texts": 2}}
    model = {"parameters": 1, "details": {"latent_groups": 2, "latent_dimensions": 64}}
    run = stored(score("PPL", math.exp(4.0)), score("AU", 3.0), statistics=STATISTICS, data=data, model=model)
    (row,) = rows_of_runs([run])
    assert str(row.location) == f"records, smoke, ptb: della seed 0 ({run.record.run_id})"
    assert row.figures["NLL"].value == pytest.approx(4.0 * 7.5)
    assert (row.n_texts, row.n_samples, row.n_groups, row.latent_size, row.max_units) == (2, 30, 2, 64, 64)
    assert (row.from_record, row.conditional) == (True, False)
    assert {name: rows.tolist() for name, rows in row.per_text.items()} == {
        "NLL": [20.0, 40.0],
        "ELBO": [21.0, 40.5],
        "KL": [2.0, 3.0],
        "MI": [0.5, 0.6],
    }


def test_a_perplexity_of_zero_is_out_of_range(
    stored: Callable[..., StoredRun], make_record: Callable[..., Record]
) -> None:
    data = {**make_record().data.model_dump(mode="json"), "statistics": {"tokens": {"test": 15}, "test": {"texts": 2}}}
    (finding,) = audit(rows_of_runs([stored(score("PPL", 0.0), data=data)]))
    assert (finding.rule, finding.figures) == ("out-of-range", "PPL 0")


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_without_figures_is_named_with_the_reason(stored: Callable[..., StoredRun], status: str) -> None:
    rows = rows_of_runs([stored(status=status, reason="it was late"), stored(status="skipped", reason="no")])
    assert audit(rows) == []
    for form in ("term", "md"):
        text = render_findings([], form, rows)
        assert text.count("it was late") == 1
        assert f"{status}: it was late" in text
        assert "0 figures read" in text


def test_a_record_without_statistics_is_audited_by_its_intervals(stored: Callable[..., StoredRun]) -> None:
    apart = [score("MI", 9.0, interval=Interval(8.9, 9.1)), score("KL", 1.0, interval=Interval(0.9, 1.1))]
    model = {"parameters": 1, "details": {"latent_groups": 1, "latent_dimensions": 2}}
    assert "mi-above-kl" in {finding.rule for finding in audit(rows_of_runs([stored(*apart, model=model)]))}
    wide = [apart[0], score("KL", 8.0, interval=Interval(0.0, 20.0))]
    assert "mi-above-kl" not in {finding.rule for finding in audit(rows_of_runs([stored(*wide, model=model)]))}


def test_rules_do_not_apply_to_other_protocols(stored: Callable[..., StoredRun]) -> None:
    """Their figures are no bounds, and have other names."""
    released = [score("PPL@della-2022", 2.0), score("KL@della-2022", 0.1), score("MI", 0.2), score("KL", 0.3)]
    assert audit(rows_of_runs([stored(*released)])) == []


FINDINGS = [
    Finding("mi-above-kl", "impossible", Location("paper", "Table 1", "PTB", "VAE"), "MI 2, KL 1", "it | cannot"),
    Finding("token-counts", "impossible", Location("paper", "Table 2", "PTB"), "1 token: a; 2 tokens: b", "no number"),
    Finding("copied-row", "suspicious", Location("paper", "Table 2", "PTB", "LM"), "PPL 3", "the same"),
]


def test_text() -> None:
    assert render_findings(FINDINGS, "term").splitlines() == [
        "impossible (mi-above-kl) paper, Table 1, PTB: VAE",
        "    MI 2, KL 1: it | cannot",
        "impossible (token-counts) paper, Table 2, PTB",
        "    1 token: a; 2 tokens: b: no number",
        "suspicious (copied-row) paper, Table 2, PTB: LM",
        "    PPL 3: the same",
        "2 impossible, 1 suspicious",
    ]
    assert render_findings([], "term") == "0 impossible, 0 suspicious\n"


def test_json() -> None:
    (first, *_) = json.loads(render_findings(FINDINGS, "json"))
    assert first == {
        "rule": "mi-above-kl",
        "severity": "impossible",
        "source": "paper",
        "table": "Table 1",
        "dataset": "PTB",
        "row": "VAE",
        "figures": "MI 2, KL 1",
        "reason": "it | cannot",
    }


def test_markdown() -> None:
    text = render_findings(FINDINGS, "md")
    assert text.startswith("2 impossible, 1 suspicious.\n\n### Impossible\n\n**paper, Table 1**\n")
    assert r"| PTB: VAE | MI 2, KL 1 | it \| cannot | `mi-above-kl` |" in text
    assert "| PTB | 1 token: a<br>2 tokens: b | no number | `token-counts` |" in text
    assert text.index("### Suspicious") < text.index("| PTB: LM |") < text.index("- `mi-above-kl`: MI exceeds KL.")
    assert "- `below-floor`" not in text


def test_the_error_names_an_unknown_format() -> None:
    with pytest.raises(BenchError, match=r"unknown format 'mdd'\. Did you mean 'md'\?"):
        render_findings([], "mdd")


def test_findings_replace_a_block_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- audit -->\nold\n<!-- /audit -->\nAfter\n")
    replace_block(page, "audit", "new\n")
    assert page.read_text() == "Before\n<!-- audit -->\nnew\n<!-- /audit -->\nAfter\n"
    page.write_text("Before\n<!-- audit -->\nAfter\n")
    with pytest.raises(BenchError, match=r"page\.md: no line <!-- audit --> with a line <!-- /audit --> after it\."):
        replace_block(page, "audit", "new\n")
    with pytest.raises(BenchError, match=r"cannot read .*nowhere\.md"):
        replace_block(tmp_path / "nowhere.md", "audit", "new\n")

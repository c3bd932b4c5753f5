"""Records and scores as data frames."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import sacrebleu

import bench
from bench.errors import BenchError
from bench.records.store import load_runs
from bench.report import build_table, default_layout
from tests.reference_records import REFERENCE, needs_reference


@needs_reference
def test_a_line_for_each_score() -> None:
    folder = REFERENCE / "table8-small"
    frame = bench.results(folder).to_frame()
    runs = [run.record for run in load_runs([folder])]
    assert len(frame) == sum(len(record.metrics) for record in runs)
    for record in runs:
        for score in record.metrics:
            (line,) = frame[(frame.run_id == record.run_id) & (frame.metric == score.name)].to_dict("records")
            assert (line["task"], line["system"], line["seed"]) == (record.task, record.label, record.seed)
            assert (line["value"], line["signature"], line["n"]) == (score.value, score.signature, score.n)
            if score.interval is not None:
                assert (line["low"], line["high"]) == (score.interval.low, score.interval.high)
    assert set(frame[frame.system == "embed"].objective) == {"two-epoch-cycle"}


@needs_reference
def test_means_over_seeds_are_those_of_pandas() -> None:
    """The table's own arithmetic beside a groupby of the long form."""
    found = bench.results(REFERENCE / "collapse-study")
    table = found.table().to_frame()
    long = found.to_frame()
    means = long.groupby(["system", "metric"]).value.mean()
    for system, metric in (("embed+bow", "PPL"), ("della+constant", "KL"), ("lm", "PPL")):
        if (system, metric) in means:
            column = next(name for name in table.columns if name[1] == metric)
            row = next(title for title in table.index if title in (system, system.removesuffix("+constant")))
            assert table.loc[row, column] == pytest.approx(means[system, metric], rel=1e-12)
    assert math.isnan(table.loc["lm", next(name for name in table.columns if name[1] == "KL")])


@needs_reference
def test_the_layout_of_a_suite() -> None:
    found = bench.results([REFERENCE / "table8-small"])
    frame = found.table("table8").to_frame()
    assert list(frame.columns.get_level_values("task").unique()) == ["PTB", "SNLI"]
    assert len(found) == 12
    expected = build_table(found.records, default_layout(found.records))
    assert found.table().to_frame().shape == (len(expected.rows), len(list(expected.columns)))
    assert "tabular" in frame.to_latex()


def test_scores_of_texts() -> None:
    texts, references = ["a man runs in the park", "two dogs"], ["a man runs in a park", "two dogs play"]
    frame = bench.score(texts, references).set_index("metric")
    expected = sacrebleu.corpus_bleu(texts, [references]).score
    assert frame.loc["BLEU", "value"] == pytest.approx(expected, rel=1e-9)
    assert isinstance(frame, pd.DataFrame)
    chosen = bench.score(texts, [[each, "another"] for each in references], metrics=["BLEU"])
    assert chosen.metric.tolist() == ["BLEU"]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no records in"):
        bench.results(tmp_path)
    with pytest.raises(BenchError, match="unknown"):
        bench.score(["a"], metrics=["BLUE"])

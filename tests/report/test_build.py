from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from bench.bootstrap import Interval
from bench.errors import BenchError
from bench.metric import Score
from bench.records.doubts import TrainingEnd
from bench.records.schema import Record, Skipped
from bench.report import build_table
from bench.report.build import T_QUANTILES
from bench.report.table import Cell, Table
from bench.suites import Layout


def cells(table: Table, column: int = 0) -> dict[str, Cell]:
    return {row.label: row.cells[column] for row in table.rows}


def heads(table: Table) -> list[str]:
    return [column.text for _, column in table.columns]


def test_mean_and_sd_over_seeds_are_numpys(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    values = np.array([20.25, 21.5, 19.0, 20.0])
    runs = [make_run("della", seed=seed, scores=[make_score("PPL", value)]) for seed, value in enumerate(values)]
    cell = cells(build_table(runs))["della"]
    assert cell.value == pytest.approx(values.mean(), rel=1e-14)
    assert cell.sd == pytest.approx(values.std(ddof=1), rel=1e-14)
    assert cell.n_seeds == 4
    assert cell.run_ids == tuple(run.run_id for run in runs)


def test_t_quantiles_equal_scipy() -> None:
    assert pytest.approx(student.ppf(0.975, np.arange(1, 31)), abs=5e-4) == np.array(T_QUANTILES)  # three decimals


def test_the_interval_over_seeds_is_student_t(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    values = np.array([20.0, 21.0, 23.0])
    runs = [make_run("della", seed=seed, scores=[make_score("PPL", value)]) for seed, value in enumerate(values)]
    low, high = student.interval(0.95, 2, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(3))
    interval = cells(build_table(runs))["della"].interval
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-4)  # the quantile has four digits


def test_the_interval_covers_texts_and_seeds(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    """Three equal seeds: only the interval over texts remains; one seed: its bootstrap interval is unchanged."""
    runs = [make_run("della", seed=seed, scores=[make_score("PPL", 20.0, 1.0 + seed)]) for seed in range(3)]
    interval = cells(build_table(runs))["della"].interval
    assert (interval.low, interval.high) == pytest.approx((18.0, 22.0), rel=1e-12)
    single = cells(build_table(runs[:1]))["della"].interval
    assert (single.low, single.high) == (19.0, 21.0)


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [
        ("down", {"a": (20, 1), "b": (23, 1), "c": (30, 1)}, "a"),
        ("up", {"a": (20, 1), "b": (23, 1), "c": (30, 1)}, "c"),
        ("down", {"a": (20, 1), "b": (21.5, 1), "c": (30, 1)}, None),
        ("down", {"a": (20, 1), "b": (23, 1), "c": (30, 9.5)}, None),
        (None, {"a": (20, 1), "b": (23, 1)}, None),
        ("down", {"a": (20, 1), "b": (23, None)}, None),
        ("down", {"a": (20, 1)}, None),
    ],
    ids=["least", "most", "overlap", "a wide third overlaps", "no direction", "no interval", "alone"],
)
def test_bold_is_the_best_value_if_its_interval_is_disjoint_from_all_others(
    make_run: Callable[..., Record],
    make_score: Callable[..., Score],
    direction: Any,
    values: dict[str, tuple[float, float]],
    best: str | None,
) -> None:
    runs = [make_run(k, scores=[make_score("PPL", v, half, direction=direction)]) for k, (v, half) in values.items()]
    table = build_table([*runs, make_run("failed", status="diverged", reason="x")])
    assert [label for label, cell in cells(table).items() if cell.bold] == ([best] if best else [])


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=5), st.sampled_from(["up", "down"])
)
def test_bold_agrees_with_its_definition(pairs: list[tuple[float, float]], direction: Any) -> None:
    from bench.report.build import _separated_best

    row = [Cell("measured", value, interval=Interval(value - half, value + half)) for value, half in pairs]
    ranked = sorted(range(len(row)), key=lambda i: row[i].value or 0.0, reverse=direction == "up")
    best, others = row[ranked[0]], [row[i] for i in ranked[1:]]
    disjoint = all(o.interval.high < best.interval.low or o.interval.low > best.interval.high for o in others)
    assert _separated_best(row, direction) == (ranked[0] if others and disjoint else None)


def test_two_signatures_do_not_share_a_column(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [
        make_run("della", scores=[make_score("PPL", 20)]),
        make_run("lm", scores=[make_score("PPL", 30, est="elbo")]),
    ]
    with pytest.raises(BenchError) as caught:
        build_table(runs)
    for signature in ("PPL|est:iw|n:200|v:1", "PPL|est:elbo|n:200|v:1"):
        assert signature in str(caught.value)
    assert "\n" not in str(caught.value)
    table = build_table(runs, allow_mixed=True)
    assert heads(table) == ["PPL [est:iw]", "PPL [est:elbo]"]
    assert [cell.value for cell in table.rows[0].cells] == [20, None]
    assert [cell.value for cell in table.rows[1].cells] == [None, 30]
    assert [line.signature for line in table.signatures] == ["PPL|est:iw|n:200|v:1", "PPL|est:elbo|n:200|v:1"]


def test_seeds_under_two_signatures_do_not_share_a_cell(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [make_run("della", seed=s, scores=[make_score("PPL", 20, est=est)]) for s, est in ((0, "iw"), (1, "elbo"))]
    with pytest.raises(BenchError, match="do not share a column"):
        build_table(runs)


def test_scores_on_different_texts_do_not_share_a_column(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    run = make_run("della", scores=[make_score("PPL", 20)])
    fewer = make_run("lm", scores=[make_score("PPL", 30, n=100)])
    data = {**run.data.model_dump(), "sha256": "b" * 64, "source": "files"}
    other = make_run("lm", scores=[make_score("PPL", 30)], data=data)
    with pytest.raises(BenchError, match=r"on 200 texts .* on 100 texts"):
        build_table([run, fewer])
    with pytest.raises(BenchError, match="data bbbbbbbbbbbb"):
        build_table([run, other])
    table = build_table([run, other], allow_mixed=True)
    assert heads(table)[1] == "PPL [data:bbbbbbbbbbbb]"
    assert any("files data" in line for line in table.data)
    assert any("grammar data" in line for line in table.data)


def test_a_metric_with_two_signatures_in_every_run_has_two_columns(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    scores = [make_score("AU", 3, est="0.01", direction="up"), make_score("AU", 2, est="0.2", direction="up")]
    table = build_table([make_run("della", scores=scores), make_run("embed", scores=scores[::-1])])
    assert heads(table) == ["AU [est:0.01]", "AU [est:0.2]"]
    assert [[cell.value for cell in row.cells] for row in table.rows] == [[3, 2], [3, 2]]


def test_runs_of_a_cell_may_differ_in_the_seed_only(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [make_run("della", seed=seed, scores=[make_score("PPL", 20)]) for seed in range(2)]
    longer = runs[1].model_copy(
        update={"spec": {**runs[1].spec, "training": {**cast("dict[str, Any]", runs[1].spec["training"]), "epochs": 9}}}
    )
    with pytest.raises(BenchError, match=r"ptb della: .* differ in spec\.training\.epochs \(4 and 9\)"):
        build_table([runs[0], longer])
    newer = runs[1].model_copy(update={"components": {**runs[1].components, "della": 2}})
    with pytest.raises(BenchError, match=r"differ in components\.della \(1 and 2\)"):
        build_table([runs[0], newer])
    twice = runs[1].model_copy(update={"spec": {**runs[1].spec, "seed": 0}})
    with pytest.raises(BenchError, match=f"ptb della seed 0: runs {runs[0].run_id} and {twice.run_id} differ in"):
        build_table([runs[0], twice])
    elsewhere = {
        **runs[1].spec,
        "tokenizer": {**cast("dict[str, Any]", runs[1].spec["tokenizer"]), "path": "/elsewhere"},
    }
    moved = runs[1].model_copy(update={"spec": elsewhere})
    assert cells(build_table([runs[0], moved]))["della"].n_seeds == 2


def test_one_scale_at_a_time(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    runs = [make_run("della", scores=[make_score("PPL", 20)], scale=scale) for scale in ("smoke", "small")]
    with pytest.raises(BenchError, match=r"several scales \(small, smoke\)"):
        build_table(runs)
    table = build_table(runs, scale="small")
    assert table.scale == "small"
    with pytest.raises(BenchError, match="no record to tabulate at scale paper"):
        build_table(runs, scale="paper")


def test_only_scores_of_the_split_count(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    run = make_run("della", scores=[make_score("PPL", 20)])
    both = [*run.metrics, type(run.metrics[0])(**{**vars(run.metrics[0]), "split": "valid", "value": 10.0})]
    run = run.model_copy(update={"metrics": tuple(both)})
    assert cells(build_table([run]))["della"].value == 20
    layout = Layout(rows=("della",), tasks=("ptb",), metrics=("PPL",), split="valid")
    assert cells(build_table([run], layout))["della"].value == 10


def test_every_empty_cell_has_a_reason(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    runs = [
        make_run("lm", scores=[make_score("PPL", 30)], skipped=[{"metric": "MI", "reason": "no latent variable"}]),
        make_run("della", scores=[make_score("MI", 3, direction="up")]),
        make_run("embed", status="skipped", reason="needs a decoder"),
        make_run("softmax", status="diverged", reason="loss is nan at step 7"),
        make_run("memory", seed=0, scores=[make_score("PPL", 31), make_score("MI", 2, direction="up")]),
        make_run("memory", seed=1, status="diverged", reason="loss is nan at step 9"),
    ]
    layout = Layout(
        rows=("lm", "della", "embed", "softmax", "memory", "optimus"), tasks=("ptb",), metrics=("PPL", "MI", "CND")
    )
    table = build_table(runs, layout)
    texts = {row.label: [(cell.text, "; ".join(cell.footnotes)) for cell in row.cells] for row in table.rows}
    assert texts["lm"] == [("30", ""), ("—", "no latent variable"), ("—", "not measured")]
    assert texts["della"] == [("—", "not measured"), ("3", ""), ("—", "not measured")]
    assert texts["embed"] == [("—", "needs a decoder")] * 3
    assert texts["softmax"] == [("diverged", "diverged: loss is nan at step 7")] * 3
    assert texts["memory"][0] == ("31", "1 of 2 seeds diverged: loss is nan at step 9")
    assert texts["optimus"] == [("—", "no run")] * 3
    assert list(table.footnotes.values()) == list("abcdef")
    assert table.markers(table.rows[3].cells[0].footnotes) == table.footnotes["diverged: loss is nan at step 7"]


def test_failed_runs_have_cells_with_the_reason(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [
        make_run("lm", scores=[make_score("PPL", 30)]),
        make_run("embed", seed=0, status="failed", reason="KeyError: 'x'"),
        make_run("embed", seed=1, status="failed", reason="KeyError: 'y'"),
        make_run("della", seed=0, status="failed", reason="MemoryError"),
        make_run("della", seed=1, status="diverged", reason="loss is nan at step 9"),
        make_run("memory", seed=0, scores=[make_score("PPL", 31)]),
        make_run("memory", seed=1, status="diverged", reason="loss is nan at step 9"),
        make_run("memory", seed=2, status="failed", reason="MemoryError"),
        make_run("memory", seed=3, status="failed", reason="MemoryError"),
    ]
    found = {label: (cell.text, cell.footnotes) for label, cell in cells(build_table(runs)).items()}
    assert found["embed"] == ("failed", ("failed: KeyError: 'x'",))
    assert found["della"] == ("diverged", ("diverged: loss is nan at step 9",))
    assert found["memory"][0] == "31"
    assert {"1 of 4 seeds diverged: loss is nan at step 9", "2 of 4 seeds failed: MemoryError"} <= {*found["memory"][1]}


def test_missing_seeds_have_a_footnote(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    runs = [make_run("della", seed=seed, scores=[make_score("PPL", 20)]) for seed in range(3)]
    table = build_table([*runs, make_run("lm", scores=[make_score("PPL", 30)])])
    assert cells(table)["lm"].footnotes == ("1 of 3 seeds",)
    assert cells(table)["della"].footnotes == ()


def test_the_entropy_is_the_first_row(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    entropy = make_score("PPL floor", 9.75, direction=None, est="exact")
    scores = [make_score("PPL", 20, 0.5), make_score("KL", 3, direction=None), entropy]
    table = build_table([make_run(label, scores=scores) for label in ("della", "embed")])
    assert table.rows[0].label == "floor"
    assert [cell.value for cell in table.rows[0].cells] == [9.75, None]
    assert heads(table) == ["PPL", "KL"]
    assert "PPL floor|est:exact|n:200|v:1" in {line.signature for line in table.signatures}


def test_a_grid_without_finished_runs_has_a_table(make_run: Callable[..., Record]) -> None:
    table = build_table(
        [make_run("della", status="diverged", reason="x"), make_run("lm", status="skipped", reason="y")]
    )
    assert {label: cell.text for label, cell in cells(table).items()} == {"della": "diverged", "lm": "—"}


def test_equal_signatures_are_one_line(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    runs = [make_run("della", task, scores=[make_score("PPL", 20), make_score("KL", 2)]) for task in ("ptb", "snli")]
    table = build_table(runs)
    assert [(line.signature, line.titles) for line in table.signatures] == [
        ("PPL|est:iw|n:200|v:1", "PTB, SNLI"),
        ("KL|est:iw|n:200|v:1", "PTB, SNLI"),
    ]


def test_the_notes_name_texts_scale_and_data(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    run = make_run("della", scores=[make_score("PPL", 20), make_score("BLEU", 20, n=50)])
    run = run.model_copy(update={"data": run.data.model_copy(update={"notes": ("3 texts repeat",)})})
    table = build_table([run])
    assert table.notes[0].startswith("Scale smoke; one seed; test split. Bold: ")
    data = f"PTB: grammar data, version 1, sha256 {run.data.sha256[:12]}"
    assert table.data == (f"{data}; 200 texts scored (PPL); 50 texts scored (BLEU); 3 texts repeat.",)


def evaluated(run: Record) -> Record:
    """The run as ``evaluate`` records it."""
    return run.model_copy(update={"spec": {**run.spec, "training": None}})


def with_entry(run: Record, section: str, key: str, value: Any) -> Record:
    """The run with another value of an entry of its spec."""
    content = {**cast("dict[str, Any]", run.spec[section]), key: value}
    return run.model_copy(update={"spec": {**run.spec, section: content}})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "epochs", 9),
        ("training", "learning_rate", 0.5),
        ("backbone", "layers", 7),
        ("tokenizer", "vocabulary_size", 999),
        ("scoring", "n_generations", 3),
    ],
)
def test_rows_that_were_trained_or_scored_differently_do_not_share_a_table(
    make_run: Callable[..., Record], make_score: Callable[..., Score], section: str, key: str, value: Any
) -> None:
    lm, embed, della = (make_run(label, scores=[make_score("PPL", 20)]) for label in ("lm", "embed", "della"))
    other = with_entry(embed, section, key, value)
    with pytest.raises(BenchError, match=rf"ptb: embed \(run {embed.run_id}\) and .* differ in {section}\.{key}"):
        build_table([lm, other, della])
    table = build_table([lm, other, della], allow_mixed=True)
    (row,) = (row for row in table.rows if row.label == "embed")
    assert row.footnotes["ptb"][0].startswith(f"{section}.{key} {value}, in other rows ")
    assert list(table.footnotes) == [row.footnotes["ptb"][0]]
    elsewhere = with_entry(make_run("embed", "snli", scores=[make_score("PPL", 20)]), section, key, value)
    build_table([lm, elsewhere, della])  # another task may have entries of its own


def test_a_size_that_the_label_names_may_differ(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [make_run(label, scores=[make_score("PPL", 20)]) for label in ("della", "della@layers=2x")]
    assert len(build_table([runs[0], with_entry(runs[1], "backbone", "layers", 7)]).rows) == 2
    with pytest.raises(BenchError, match=r"differ in backbone\.width"):
        build_table([runs[0], with_entry(runs[1], "backbone", "width", 7)])


def test_rows_that_were_decoded_differently_or_not_trained_here_have_a_footnote(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    lm, embed, della = (make_run(label, scores=[make_score("PPL", 20)]) for label in ("lm", "embed", "della"))
    greedy = with_entry(with_entry(lm, "decoding", "strategy", "greedy"), "decoding", "top_k", 5)
    table = build_table([evaluated(embed), greedy, della])
    footnotes = {row.label: row.footnotes["ptb"] for row in table.rows}
    assert footnotes["della"] == ()
    assert footnotes["embed"] == ("a trained model, only scored here",)
    assert [text.split(", in other")[0] for text in footnotes["lm"]] == ["decoding.strategy greedy", "decoding.top_k 5"]


def test_equal_runs_of_two_folders_are_one(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    run = make_run("della", scores=[make_score("PPL", 20)])
    copy = run.model_copy(update={"peak_memory_bytes": 1, "timings": ()})
    (cell,) = build_table([run, copy]).rows[0].cells
    assert (cell.n_seeds, cell.run_ids) == (1, (run.run_id,))
    other = make_run("della", scores=[make_score("PPL", 21)])
    with pytest.raises(BenchError, match=f"run id {run.run_id} and differ in metrics.PPL.value \\(20.0 and 21.0\\)"):
        build_table([run, other])


def test_an_interval_over_something_else_does_not_decide_about_bold(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    def run(label: str, value: float, seed: int = 0, **interval: Any) -> Record:
        score = make_score("MAUVE", value + seed / 1000, direction="up")
        return make_run(
            label, seed=seed, scores=[replace(score, interval=Interval(value - 0.01, value + 0.01, **interval))]
        )

    over_texts = build_table([run("a", 0.5), run("b", 0.9)])
    assert [row.cells[0].bold for row in over_texts.rows] == [False, True]
    for interval in (
        {"level": 0.6827, "method": "sd:5-clusterings"},
        {"level": 0.95, "method": "sd:5"},
        {"level": 0.5},
    ):
        table = build_table([run("a", 0.5, **interval), run("b", 0.9, **interval)])
        assert not any(row.cells[0].bold for row in table.rows)
        assert any(note.startswith("Never bold, because the interval is another one: MAUVE (") for note in table.notes)
    seeds = [run(label, value, seed, level=0.6827) for label, value in (("a", 0.5), ("b", 0.9)) for seed in range(2)]
    table = build_table(seeds)
    assert {row.cells[0].interval.method for row in table.rows} == {"Student's t over seeds"}
    assert not any(row.cells[0].bold for row in table.rows)


def test_an_empty_cell_of_the_entropy_has_the_reason(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    reason = "3 of 3 texts were cut, and the exact probability is that of the whole text"
    cut = make_run("lm", scores=[make_score("PPL", 20), make_score("KL", 2)])
    cut = cut.model_copy(update={"skipped": (Skipped(metric="PPL floor", reason=reason),)})
    whole = make_run("lm", "snli", scores=[make_score("PPL", 20), make_score("PPL floor", 9.0, est="exact")])
    for runs in ([cut, whole], [cut]):
        row = build_table(runs).rows[0]
        assert row.label == "floor"
        assert [(cell.text, cell.footnotes) for cell in row.cells[:2]] == [("", (reason,)), ("", ())]
    of_files = cut.model_copy(update={"data": cut.data.model_copy(update={"source": "files"})})
    assert build_table([of_files]).rows[0].label == "lm"


def test_nothing_to_tabulate_is_an_error(make_run: Callable[..., Record]) -> None:
    layout = Layout(rows=("della",), tasks=("ptb",), metrics=("PPL",))
    with pytest.raises(BenchError, match="no record fits the layout: looked for della on ptb"):
        build_table([make_run("lm", "snli")], layout)
    with pytest.raises(BenchError, match="no record to tabulate"):
        build_table([])


def test_the_best_value_is_not_bold_while_training_had_not_ended(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [make_run(label, scores=[make_score("PPL", value, 1)]) for label, value in (("a", 20), ("b", 23))]
    ends = {runs[0].run_id: TrainingEnd(8, 8, 0.06), runs[1].run_id: TrainingEnd(8, 8, 0.009)}
    assert [row.cells[0].bold for row in build_table(runs).rows] == [True, False]
    table = build_table(runs, ends=ends)
    assert [row.cells[0].bold for row in table.rows] == [False, False]
    assert [row.cells[0].footnotes for row in table.rows] == [("still falling 6 % an epoch",), ()]
    assert any(note.startswith("Still falling: ") for note in table.notes)


def test_a_mark_says_how_many_seeds_it_holds_for(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    scores = [[make_score("KL", 14.4, direction=None), make_score("MI", mi, direction="up")] for mi in (0.0, 4.0, 0.1)]
    runs = [make_run("optimus", seed=seed, scores=of_seed) for seed, of_seed in enumerate(scores)]
    ends = {runs[0].run_id: TrainingEnd(8, 8, 0.02), runs[1].run_id: TrainingEnd(8, 3, None)}
    table = build_table(runs, ends=ends)
    footnotes = {
        column.metric: cell.footnotes for (_, column), cell in zip(table.columns, table.rows[0].cells, strict=True)
    }
    falling = "1 of 3 seeds: still falling 2 % an epoch"
    assert footnotes == {
        "KL": (falling, "2 of 3 seeds: KL without information (MI under a tenth of it)"),
        "MI": (falling,),
    }

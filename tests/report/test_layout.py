from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.errors import BenchError
from bench.metric import Score
from bench.records.published import PublishedFigures
from bench.records.schema import Record
from bench.report import build_table, choose_from_layout, complete_layout, narrow_layout, without_published
from bench.report.layout import MAIN_METRICS, default_layout
from bench.resources import names
from bench.suites import Layout, RowLayout, load_suite

PAPER = "della-2022"
TABLES = {f"table{number}": f"Table {number}" for number in (1, 2, 4, 5, 8, 9)}
NO_SUITE = {
    "Table 3": "judgements of people",
    "Table 6": "hours of the paper's machines; records hold ours",
    "Table 7": "sizes of the data sets; records hold ours",
    "A.1": "numbers of parameters; records hold ours",
}


def layout_of(suite: str) -> Layout:
    layout = load_suite(suite).layout
    assert layout is not None
    return layout


@pytest.mark.parametrize("suite", names("suites"))
def test_every_layout_of_a_suite_makes_a_full_table(
    suite: str, make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    layout = layout_of(suite)
    labels = [row.label for row in layout.rows]
    scores = [make_score(metric.name, 1.0) for metric in layout.metrics]
    runs = [make_run(label, task.name, scores=scores) for label in labels for task in layout.tasks]
    table = build_table(runs, layout)
    assert table.title == layout.title != ""
    assert [row.label for row in table.rows] == labels
    assert {cell.state for row in table.rows for cell in row.cells} == {"measured"}


@pytest.mark.parametrize(("suite", "printed"), TABLES.items())
def test_every_published_figure_of_a_table_is_in_its_suite(
    suite: str, printed: str, make_run: Callable[..., Record]
) -> None:
    layout = layout_of(suite)
    table = build_table([make_run(layout.rows[0].label, layout.tasks[0].name)], layout)
    figures = [cell.published for row in table.rows for cell in row.cells if cell.published]
    expected = [f for f in PublishedFigures.load().figures if (f.key, f.table) == (PAPER, printed)]
    assert sorted(figures, key=repr) == sorted(expected, key=repr)


def test_every_published_table_has_a_suite_or_a_reason_for_none() -> None:
    printed = {figure.table for figure in PublishedFigures.load().figures if figure.key == PAPER}
    assert printed == {*TABLES.values(), *NO_SUITE}


def test_every_row_of_optimus_has_its_published_figures(make_run: Callable[..., Record]) -> None:
    """PPL, MI and AU on four tasks for each of the five targets, and PPL without a latent variable."""
    table = build_table([make_run("lm", "ptb")], layout_of("optimus-table1"))
    printed = {row.label: [cell.published for cell in row.cells if cell.published] for row in table.rows}
    lambdas = ("0.05", "0.1", "0.25", "0.5", "1")
    assert {label: len(figures) for label, figures in printed.items()} == {
        "lm": 4,
        **{f"optimus+optimus-2020:{target}": 12 for target in lambdas},
    }
    for target in lambdas:
        variants = {figure.variant for figure in printed[f"optimus+optimus-2020:{target}"]}
        assert variants == {f"lambda={float(target):.2f}"}


def test_a_missing_run_has_its_published_figure(make_run: Callable[..., Record]) -> None:
    table = build_table([make_run("della", "ptb")], layout_of("table8"))
    column = [column.metric for _, column in table.columns].index("PPL")
    texts = {row.label: f"{row.cells[column].text} {row.cells[column].published_text}" for row in table.rows}
    assert texts == {
        "lm": "— 25.80",
        "optimus": "— 22.79",
        "embed": "— 19.98",
        "memory": "— 24.41",
        "softmax": "— 24.04",
        "della": "— 10.28",
        "della-2022": "— ",
    }
    assert any("Hu et al., NAACL 2022" in note and "NOT comparable" in note for note in table.notes)


def test_a_row_may_have_figures_of_another_paper(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    optimus = {"model": "Optimus", "variant": "lambda=0.50", "source": {"paper": "optimus-2020", "table": "Table 1"}}
    ptb = {"name": "ptb", "published": {"paper": "della-2022", "table": "Table 8", "dataset": "PTB"}}
    layout = Layout.model_validate(
        {"rows": [{"label": "optimus", "published": optimus}], "tasks": [ptb], "metrics": ["PPL"]}
    )
    table = build_table([make_run("optimus", scores=[make_score("PPL", 20)])], layout)
    assert table.rows[0].cells[0].published_text == "26.69"  # Table 8 of the DELLA paper misquotes it as 22.79


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"paper": "della"}, "unknown paper 'della'. Did you mean 'della-2022'"),
        ({"table": "Table 18"}, "unknown table of della-2022 'Table 18'"),
    ],
)
def test_an_unknown_published_table_is_an_error(
    make_run: Callable[..., Record], change: dict[str, Any], complaint: str
) -> None:
    place = {"paper": "della-2022", "table": "Table 8", "dataset": "PTB", **change}
    layout = Layout.model_validate(
        {
            "rows": [{"label": "lm", "published": {"model": "GPT-2", "variant": "finetuned"}}],
            "tasks": [{"name": "ptb", "published": place}],
            "metrics": ["PPL"],
        }
    )
    with pytest.raises(BenchError, match=complaint.replace(".", r"\.").replace("?", r"\?")):
        build_table([make_run("lm")], layout)


@pytest.mark.parametrize("task", ["yelp", "ptb", "writingprompts", "quora"])
def test_a_suite_can_be_run_on_one_of_its_tasks(task: str, make_run: Callable[..., Record]) -> None:
    """The published tables of the other tasks have other names for its rows."""
    runs = [make_run("embed", task), make_run("della", task)]
    table = build_table(runs, narrow_layout(layout_of("all"), runs))
    assert [row.label for row in table.rows] == ["embed", "della"]
    assert all(any(cell.published for cell in row.cells) for row in table.rows)


def test_an_unknown_published_row_is_an_error(make_run: Callable[..., Record]) -> None:
    content = layout_of("table8").model_dump(mode="json")
    content["rows"][0]["published"][0]["variant"] = "fine-tuned"
    with pytest.raises(BenchError, match=r"'GPT-2 / fine-tuned'\. Did you mean 'GPT-2 / finetuned'"):
        build_table([make_run("lm")], Layout.model_validate(content))


def test_the_default_layout_has_the_measured_metrics_in_the_order_of_the_papers(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    scores = [make_score(name, 1.0) for name in ("AU", "ESS", "PPL floor", "PPL", "Self-BLEU")]
    layout = default_layout([make_run("b", "snli", scores=scores), make_run("a", "ptb")])
    assert [metric.name for metric in layout.metrics] == ["PPL", "AU", "Self-BLEU"]
    assert [row.label for row in layout.rows] == ["a", "b"]
    assert [(task.name, task.title) for task in layout.tasks] == [("ptb", "PTB"), ("snli", "SNLI")]
    assert MAIN_METRICS.index("PPL") == 0
    only_others = default_layout([make_run("a", scores=[make_score("ESS", 1.0)])])
    assert [metric.name for metric in only_others.metrics] == ["ESS"]


def test_the_default_layout_has_no_column_that_a_task_did_not_measure(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    runs = [
        make_run("a", "ptb", scores=[make_score("PPL", 1.0)]),
        make_run("a", "quora", scores=[make_score("BLEU", 1.0)]),
    ]
    table = build_table(runs)
    assert [(group.task, [column.metric for column in group.columns]) for group in table.column_groups] == [
        ("ptb", ["PPL"]),
        ("quora", ["BLEU"]),
    ]


def test_an_optional_column_is_in_the_table_only_if_a_run_has_a_value(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    layout = Layout.model_validate(
        {"rows": ["a"], "tasks": ["ptb", "quora"], "metrics": ["PPL", "KL", {"name": "Excess", "optional": True}]}
    )
    runs = [
        make_run("a", "ptb", scores=[make_score("PPL", 1.0), make_score("Excess", 1.0)]),
        make_run("a", "quora", scores=[make_score("PPL", 1.0)]),
    ]
    table = build_table(runs, layout)
    assert [(group.task, [column.metric for column in group.columns]) for group in table.column_groups] == [
        ("ptb", ["PPL", "KL", "Excess"]),
        ("quora", ["PPL", "KL"]),
    ]


def test_a_system_without_a_row_gets_one_if_others_is_true(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    layout = Layout(rows=("lm", "della"), tasks=("ptb",), metrics=("PPL",))
    runs = [make_run(label, scores=[make_score("PPL", 20)]) for label in ("mine", "another", "della")]
    elsewhere = make_run("third", "snli", scores=[make_score("PPL", 20)])
    table = build_table([*runs, elsewhere], layout.model_copy(update={"others": True}))
    assert [row.label for row in table.rows] == ["lm", "della", "another", "mine"]
    closed = build_table([*runs, elsewhere], layout)
    assert [row.label for row in closed.rows] == ["lm", "della"]


def test_names_choose_rows_tasks_and_columns_of_a_layout(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    layout = Layout.model_validate(
        {"rows": [{"label": "lm", "title": "GPT-2"}, "della"], "tasks": ["ptb"], "metrics": ["PPL", "KL"]}
    )
    scores = [make_score(name, 1.0) for name in ("PPL", "KL", "MI")]
    runs = [make_run(label, task, scores=scores) for label in ("lm", "della", "mine") for task in ("ptb", "snli")]
    chosen = choose_from_layout(layout, runs, systems=["mine", "lm"], tasks=["snli"], metrics=["MI", "PPL"])
    table = build_table(runs, chosen)
    assert [row.title for row in table.rows] == ["mine", "GPT-2"]
    assert [(group.task, column.metric) for group, column in table.columns] == [("snli", "MI"), ("snli", "PPL")]
    assert choose_from_layout(layout, runs) == layout
    for kind, name, nearest in (("system", "dela", "della"), ("task", "snil", "snli"), ("metric", "PPLL", "PPL")):
        with pytest.raises(BenchError, match=rf"unknown {kind} in these records '{name}'\. Did you mean '{nearest}'"):
            choose_from_layout(layout, runs, **{f"{kind}s": [name]})


def test_a_complete_layout_has_everything_and_the_titles_of_the_suite_that_fits(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    scores = [make_score(name, 1.0) for name in ("PPL", "PPL floor", "KL", "KL[1]", "BLEU-all", "Novelty")]
    runs = [make_run(label, task, scores=scores) for label in ("lm", "della", "mine") for task in ("ptb", "snli", "x")]
    layout = complete_layout(runs)
    assert [(row.label, row.title) for row in layout.rows] == [("lm", "GPT-2"), ("della", "DELLA"), ("mine", None)]
    assert [(task.name, task.title) for task in layout.tasks] == [("ptb", "PTB"), ("snli", "SNLI"), ("x", "X")]
    assert [metric.name for metric in layout.metrics] == ["PPL", "KL", "BLEU-all", "Novelty"]
    assert layout.rows[1].published
    assert next(metric for metric in layout.metrics if metric.name == "BLEU-all").published == "BLEU"
    assert complete_layout([make_run("mine", "x")]).rows == (RowLayout(label="mine"),)


def test_a_layout_can_leave_out_published_figures(make_run: Callable[..., Record]) -> None:
    table = build_table([make_run("della", "ptb")], without_published(layout_of("table8")))
    assert not any(cell.published for row in table.rows for cell in row.cells)
    assert "(published)" not in "".join(table.notes)

"""Golden renders: one synthetic grid in every format.

Regenerate after an intended change and read the diff: ``REGENERATE_GOLDENS=1 pytest tests/report``.
"""

from __future__ import annotations

import csv
import io
import os
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bootstrap import Interval
from bench.errors import BenchError
from bench.escape import latex as escape
from bench.metric import Score
from bench.records.schema import Record
from bench.report import FORMATS, build_table, render_table
from bench.report.signatures import shortened
from bench.report.table import SignatureLine, Table, format_spread
from bench.resources import names
from bench.suites import Layout, load_suite

GOLDENS = Path(__file__).parent / "goldens"
LAYOUT = Layout.model_validate(
    {
        "title": "Synthetic & small",
        "caption": "A table of made-up figures.",
        "rows": [
            {"label": "lm", "title": "GPT-2", "published": {"model": "GPT-2", "variant": "finetuned"}},
            {
                "label": "embed+free_bits:0.5",
                "title": "Embed|free_bits",
                "published": {"model": "Embed", "variant": "GPT-2 base, cyclical annealing"},
            },
            {
                "label": "della",
                "title": "DELLA",
                "published": {"model": "DELLA", "variant": "GPT-2 base, cyclical annealing"},
            },
            "della-2022",
        ],
        "tasks": [
            {"name": "ptb", "title": "PTB", "published": {"paper": "della-2022", "table": "Table 8", "dataset": "PTB"}},
            {"name": "snli", "title": "SNLI <short>"},
        ],
        "metrics": ["PPL", "KL", {"name": "AU", "title": "Active units"}],
    }
)


@pytest.fixture
def table(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> Table:
    """Several seeds, the entropy, a published figure with a note, and every kind of empty cell."""
    entropy = make_score("PPL floor", 9.75, direction=None, est="exact")

    def kl(value: float) -> Score:
        return make_score("KL", value, 0.2, direction=None, unit="nats")

    def au(value: float) -> Score:
        return make_score("AU", value, direction="up", unit="count")

    def ppl(value: float) -> Score:
        return make_score("PPL", value, 0.3)

    no_latent = [{"metric": name, "reason": "no latent variable"} for name in ("KL", "AU")]
    nan = "the loss was not finite by step 40"
    embed = "embed+free_bits:0.5"
    lms = [make_run("lm", "ptb", seed, [ppl(30.5 + seed / 2), entropy], skipped=no_latent) for seed in range(3)]
    embeds = [make_run(embed, "ptb", seed, [ppl(25 + seed / 8), entropy, kl(2.5), au(3 + seed)]) for seed in range(2)]
    dellas = [
        make_run("della", "ptb", seed, [ppl(20 + seed / 8), entropy, kl(6 + seed / 4), au(6)]) for seed in range(3)
    ]
    others = [
        make_run(embed, "ptb", 2, status="diverged", reason=nan),
        make_run("lm", "snli", 0, [make_score("PPL", 12.3456, 0.25)], skipped=no_latent),
        make_run(embed, "snli", 0, status="diverged", reason=nan),
        make_run("della", "snli", 0, status="skipped", reason="needs 100% more_layers"),
    ]
    return build_table([*lms, *embeds, *dellas, *others], LAYOUT)


@pytest.mark.parametrize("table_format", FORMATS.names())
def test_render_equals_its_golden(table: Table, table_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    path = GOLDENS / f"synthetic.{table_format}"
    text = render_table(table, table_format)
    if os.environ.get("REGENERATE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert text == path.read_bytes().decode()


def test_csv_holds_the_unrounded_table(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(render_table(table, "csv"))))
    assert len(lines) == sum(len(row.cells) for row in table.rows)
    cells = [cell for row in table.rows for cell in row.cells]
    for line, cell in zip(lines, cells, strict=True):
        assert (float(line["value"]) if line["value"] else None) == cell.value
        assert (float(line["sd"]) if line["sd"] else None) == cell.sd
        assert int(line["n_seeds"]) == cell.n_seeds == len(line["run_ids"].split())
        assert (line["bold"] == "True") == cell.bold
    (single,) = [line for line in lines if (line["system"], line["task"], line["metric"]) == ("lm", "snli", "PPL")]
    assert float(single["half_width"]) == pytest.approx(0.25, rel=1e-12)  # of the bootstrap interval: there is one seed
    (noted,) = [line for line in lines if (line["system"], line["task"], line["metric"]) == ("della", "ptb", "PPL")]
    assert (noted["published"], noted["published_source"]) == ("10.28", "della-2022 Table 8")


def test_html_is_well_formed_and_complete(table: Table) -> None:
    page = render_table(table, "html").removeprefix("<!DOCTYPE html>\n")
    root = ET.fromstring(page)  # noqa: S314
    tables = root.findall(".//table")
    assert [part.findtext("caption") for part in tables] == ["PTB", "SNLI <short>"]
    for part in tables:
        body = part.findall("./tbody/tr")
        titles = [row.findtext("th") for row in body if "published" not in row.get("class", "")]
        assert titles == [row.title for row in table.rows if row.label != "floor" or part is tables[0]]
        assert {len(row.findall("td")) for row in body} == {3}
    assert "th[scope=row], thead td { position: sticky; left: 0;" in page
    assert len(root.findall(".//td/b")) == sum(cell.bold for row in table.rows for cell in row.cells) > 0


def test_markdown_rows_have_equally_many_cells(table: Table) -> None:
    rows = [line for line in render_table(table, "md").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {5}


def latex_tables(table: Table) -> list[list[str]]:
    """The lines of each ``table*``."""
    parts = render_table(table, "latex").split(r"\begin{table*}")[1:]
    return [part.partition(r"\end{table*}")[0].splitlines() for part in parts]


def test_latex_has_a_table_per_task_whose_rows_have_equally_many_cells(table: Table) -> None:
    tables = latex_tables(table)
    assert len(tables) == 2
    for lines in tables:
        body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
        rows = [line for line in body if line != r"\midrule"]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {3}
        assert all(line.endswith(r" \\") for line in rows)
    labels = re.findall(r"\\label\{(.*?)\}", render_table(table, "latex"))
    assert labels == ["tab:synthetic-small-ptb", "tab:synthetic-small-snli"]


def test_latex_numbers_stand_in_columns_that_fit_them(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    values = {"a": -0.0213, "b": 1.828, "c": 15.01, "d": 0.7323, "e": 2.0}
    runs = [make_run(label, scores=[make_score("Excess", value)]) for label, value in values.items()]
    (lines,) = latex_tables(build_table(runs))
    assert r"\begin{tabular}{l S[table-format=-2.3]}" in lines
    numbers = [line.removesuffix(r" \\").split(" & ")[1] for line in lines[lines.index(r"\midrule") + 1 :][:5]]
    assert numbers == ["-0.021", "1.828", "15.010", "0.732", "2.000"]


def test_latex_has_spreads_markers_and_texts(table: Table) -> None:
    text = render_table(table, "latex")
    assert r"S[table-format=2.3(3), table-space-text-post={\tnote{b}}]" in text
    assert r"\bfseries 20.125 +- 0.125" in text
    assert r"25.062 +- 0.088\tnote{b}" in text
    assert r"2.500 +- 0.000\tnote{b}" in text
    assert r"{---\tnote{a}}" in text
    assert r"{diverged\tnote{g}}" in text


PDFLATEX = shutil.which("pdflatex")
PACKAGES = "texlive-latex-base texlive-latex-extra texlive-science"


def compile_latex(folder: Path, text: str) -> str:
    """Compiles a document and returns the log; an error fails."""
    (folder / "document.tex").write_text(text, encoding="utf-8")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "document.pdf").stat().st_size > 1000
    return (folder / "document.log").read_text(encoding="latin-1")


@pytest.mark.skipif(PDFLATEX is None, reason=f"needs pdflatex: apt-get install {PACKAGES}")
def test_latex_compiles_alone(table: Table, wide: Table, tmp_path: Path) -> None:
    for each in (table, replace(table, is_transposed=True)):
        assert "Overfull" not in compile_latex(tmp_path, render_table(each, "latex"))
    compile_latex(tmp_path, render_table(wide, "latex"))  # its titles are wider than a page


@pytest.mark.skipif(PDFLATEX is None, reason=f"needs pdflatex: apt-get install {PACKAGES}")
def test_latex_of_every_suite_compiles_within_a_paper(
    make_run: Callable[..., Record], make_score: Callable[..., Score], tmp_path: Path
) -> None:
    rng = random.Random(0)
    inputs = []
    for name in names("suites"):
        layout = load_suite(name).layout
        assert layout is not None
        runs = [
            make_run(row.label, task.name, seed, scores)
            for row in layout.rows
            for task in layout.tasks
            for seed in range(2)
            if (scores := [make_score(metric.name, rng.uniform(-1, 300), 0.5) for metric in layout.metrics])
        ]
        (tmp_path / f"{name}.tex").write_text(render_table(build_table(runs, layout), "latex"), encoding="utf-8")
        inputs.append(rf"\input{{{name}}}\clearpage")
    preamble = r"\documentclass[twocolumn]{article}\usepackage{booktabs,siunitx,threeparttable}\begin{document}"
    compile_latex(tmp_path, "\n".join([preamble, *inputs, r"\end{document}"]))


@pytest.fixture
def wide(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> Table:
    """Seven tasks, eleven metrics, long titles."""
    scores = [make_score(f"Metric-{number} of texts", 123.456 + number, 0.5, unit="nats") for number in range(11)]
    labels = ("lm", "embed+free-bits:3.2,per_text+cyclical:cycles=8,share=0.25@layers=2x,width=128")
    return build_table(
        [
            make_run(label, f"task{task}", seed, [replace(s, value=s.value + seed) for s in scores])
            for label in labels
            for task in range(7)
            for seed in range(2)
        ]
    )


@pytest.mark.parametrize("width", [60, 80, 132])
def test_no_line_is_wider_than_the_terminal(wide: Table, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = re.sub(r"\x1b\[[0-9;]*m", "", render_table(wide, "term"))
    assert max(map(len, text.splitlines())) <= width
    for number in range(11):  # no value and no caption is broken or left out
        assert text.count(f"{123.956 + number:.2f} ± 0.71") == 2 * 7
    tables = text.partition("Scale smoke")[0]
    assert len(re.findall(r"Metric-\d+\b", tables)) == 11 * 7


def test_no_tabular_has_more_columns_than_a_page_is_wide(wide: Table) -> None:
    tables = latex_tables(wide)
    assert len(tables) == 7
    for lines in tables:
        numbers = [line.count("S[") for line in lines if line.startswith(r"\begin{tabular}{l")]
        assert sum(numbers) == 11
        assert max(numbers) <= 5


@pytest.mark.parametrize("title", ["Ablation [/v2] of [bold]VAEs", "KL [nats]", ":rocket:", "two\nlines", r"a\b"])
def test_titles_are_text_in_every_format(
    title: str, make_run: Callable[..., Record], make_score: Callable[..., Score], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    run = make_run("lm", scores=[make_score("PPL", 20)])
    layout = Layout.model_validate(
        {
            "title": title,
            "rows": [{"label": "lm", "title": title}],
            "tasks": [{"name": "ptb", "title": title}],
            "metrics": [{"name": "PPL", "title": title}],
        }
    )
    table = build_table([run], layout)
    for table_format in FORMATS.names():
        render_table(table, table_format)
    assert render_table(table, "term").count(" ".join(title.split())) == 5
    rows = [line for line in render_table(table, "md").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3}


def test_published_figures_stand_in_lines_of_their_own(table: Table) -> None:
    lines = render_table(table, "md").splitlines()
    titles = [line.split(" | ")[0].removeprefix("| ") for line in lines[: lines.index("#### SNLI \\<short>")]]
    shown = [title for title in titles if title.startswith(("GPT", "Embed", "DELLA", "della"))]
    ours = ["GPT-2", r"Embed\|free_bits", "DELLA", "della-2022"]
    assert shown == [*ours, *(f"{title} (published)" for title in ours[:3])]
    assert next(line for line in lines if line.startswith("| DELLA (published)")).count("10.28<sup>") == 1
    assert r"\midrule\n\textit{GPT-2 (published)}".replace(r"\n", "\n") in render_table(table, "latex")
    assert '<tr class="published first"><th scope="row">GPT-2 (published)' in render_table(table, "html")


def test_a_transposed_table_has_a_line_per_metric_with_the_same_cells(table: Table) -> None:
    for block, other in zip(table.blocks(), replace(table, is_transposed=True).blocks(), strict=True):
        assert [line.title.text for line in other.lines] == [column.caption for column in block.columns]
        assert [column.text.split(" (")[0].split(" ")[0] for column in other.columns] == [
            line.title.text.split(" (")[0].split(" ")[0] for line in block.lines
        ]
        assert [line.cells for line in other.lines] == [*zip(*(line.cells for line in block.lines), strict=True)]
        assert other.footnotes == block.footnotes


def test_signatures_are_shortened_to_what_differs() -> None:
    lines = [
        SignatureLine("PPL|est:iw|K:30|tok:bpe@a1|n:200|v:1", "PTB"),
        SignatureLine("PPL|est:iw|K:30|tok:bpe@b2|n:200|v:1", "SNLI"),
        SignatureLine("KL|est:analytic|K:30|n:200|v:1", "PTB, SNLI"),
        SignatureLine("Dist-2|n:2|v:1", "PTB"),
        SignatureLine("odd", "PTB"),
    ]
    assert shortened(lines) == (
        "K:30, v:1; PPL est:iw tok:bpe@a1/bpe@b2 n:200; KL est:analytic n:200; Dist-2 n:2; odd signature:"
    )
    assert shortened([]) == ""


def test_csv_prints_level_and_method(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    score = replace(make_score("MAUVE", 0.9), interval=Interval(0.8, 1.0, 0.6827, "sd:5-clusterings"))
    (line,) = csv.DictReader(io.StringIO(render_table(build_table([make_run("lm", scores=[score])]), "csv")))
    assert (line["level"], line["method"]) == ("0.6827", "sd:5-clusterings")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("100% & $5 #1 a_b {x}", r"100\% \& \$5 \#1 a\_b \{x\}"),
        (r"\input", r"\textbackslash{}input"),
        ("a~b^c", r"a\textasciitilde{}b\textasciicircum{}c"),
        ("[x]", "{[}x]"),
        ("1 ± 2 — ↓", r"1 $\pm$ 2 --- $\downarrow$"),
        ("λ, β, ο", r"$\lambda$, $\beta$, o"),
    ],
)
def test_latex_escapes(text: str, printed: str) -> None:
    assert escape(text) == printed


@given(st.text(alphabet=r"ab&%$#_{}\~^[]"))
def test_every_special_character_is_escaped(text: str) -> None:
    """After the commands of the escape table are removed, no special character is left."""
    commands = r"\\(text(backslash|asciitilde|asciicircum)\{\}|[&%$#_{}])|\{\[\}"
    assert not re.search(r"[&%$#_{}\\~^\[]", re.sub(commands, "", escape(text)))


def test_bold_is_an_attribute_in_the_terminal(table: Table) -> None:
    assert "\x1b[1m20.12 ± 0.12\x1b[0m" in render_table(table, "term")
    assert render_table(table, "term").count("31.00 ± 0.50") == 1


def test_the_error_names_an_unknown_format_and_the_nearest(table: Table) -> None:
    with pytest.raises(BenchError, match=r"unknown table format 'htm'. Did you mean 'html'\?"):
        render_table(table, "htm")


@pytest.mark.parametrize(
    ("value", "sd", "text"),
    [
        (51.234, 0.4321, "51.23 ± 0.43"),
        (51.234, 4.321, "51.2 ± 4.3"),
        (512.34, 43.21, "512 ± 43"),
        (0.51234, 0.0012, "0.5123 ± 0.0012"),
        (23.354, None, "23.35"),
        (327.284, None, "327.3"),
        (0.42137, None, "0.4214"),
        (23.0, None, "23"),
        (23.0, 0.0, "23 ± 0"),
        (0.0, None, "0"),
        (-0.0213, None, "-0.0213"),
        (4e66, None, "4.000e+66"),
        (4e66, 1.5e65, "4.000e+66 ± 1.5e+65"),
    ],
)
def test_values_are_rounded_to_two_digits_of_their_spread(value: float, sd: float, text: str) -> None:
    assert format_spread(value, sd) == text

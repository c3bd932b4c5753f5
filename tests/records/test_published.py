from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.records.published import COLUMNS, PublishedFigures, published_folder


@pytest.fixture(scope="module")
def published() -> PublishedFigures:
    return PublishedFigures.load()


def test_number_of_figures_per_paper(published: PublishedFigures) -> None:
    assert Counter(figure.key for figure in published.figures) == {
        "della-2022": 567,
        "optimus-2020": 166,
        "lagging-2019": 118,
        "textbox-0.2.1": 81,
        "sentence-mim": 21,
        "texar-vae-text": 8,
    }
    assert len(published.figures) == 961


def test_no_cell_has_two_figures(published: PublishedFigures) -> None:
    cells = {(f.key, f.table, f.dataset, f.model, f.variant, f.metric) for f in published.figures}
    assert len(cells) == len(published.figures)


def test_directions_and_values_are_typed(published: PublishedFigures) -> None:
    assert Counter(figure.direction for figure in published.figures) == {"up": 562, "down": 359, None: 40}
    text = {figure.printed for figure in published.figures if figure.value is None}
    sizes = {"100k", "10k", "42k", "3k", "287k", "13k", "11k", "272k", "15k", "134k", "5k"}
    assert text == sizes | {"<=332.1", "<=327.5", "<=359.1", "<=90.05"}


@pytest.mark.parametrize(
    ("cell", "printed"),
    [
        (("della-2022", "Table 8", "PTB", "DELLA", "GPT-2 base, cyclical annealing", "PPL"), "10.28"),
        (("della-2022", "Table 1", "Yelp", "GPT-2", "finetuned", "MAUVE"), "0.12"),
        (("della-2022", "Table 7", "SNLI", "", "", "train size"), "100k"),
        (("optimus-2020", "Table 1", "PTB", "Optimus", "lambda=0.50", "PPL"), "26.69"),
        (("della-2022", "Table 8", "PTB", "GPT-2", "finetuned", "KL"), None),
    ],
)
def test_find(published: PublishedFigures, cell: tuple[str, ...], printed: str) -> None:
    figure = published.find(*cell)
    assert (figure and figure.printed) == printed


def test_a_figure_has_its_printed_digits_and_its_note(published: PublishedFigures) -> None:
    figure = published.find("della-2022", "Table 1", "Yelp", "GPT-2", "finetuned", "Self-BLEU")
    assert (figure.printed, figure.value, figure.direction) == ("65.90", 65.9, "down")
    assert figure.note.startswith("ambiguous")


def test_every_table_has_a_citation(published: PublishedFigures) -> None:
    tables = {(figure.key, figure.table) for figure in published.figures}
    assert all(published.citation(key, table) for key, table in tables)
    assert published.citation("della-2022", "Table 8") == "DELLA (Hu et al., NAACL 2022)"


def test_rows_come_in_printed_order(published: PublishedFigures) -> None:
    assert [model for model, _ in published.rows("della-2022", "Table 8")] == [
        "GPT-2", "Optimus", "Embed", "Memory", "Softmax", "DELLA",
    ]  # fmt: skip


def test_the_installed_folder_has_priority_over_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert published_folder().joinpath("della-2022.csv").is_file()
    (tmp_path / "published").mkdir()
    monkeypatch.setattr("bench.records.published.files", lambda package: tmp_path)
    assert published_folder() == tmp_path / "published"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("paper,value\nx,1\n", "expected the columns paper, table"),
        (f"{','.join(COLUMNS)}\np,t,d,m,v,PPL,1,sideways,\n", "line 2: direction 'sideways'"),
        (f"{','.join(COLUMNS)}\np,t,d,m,v,PPL,1,,see 3, row 2\n", "line 2: 10 cells, the columns are 9"),
        (f"{','.join(COLUMNS)}\np,t,d,m,v,PPL,1\n", "line 2: 7 cells, the columns are 9"),
        (
            f'{",".join(COLUMNS)}\n\np,t,d,m,v,KL,1,,\np,t,d,m,v,PPL,1,,"open\nx\n',
            "the quote of line 4 is never closed",
        ),
        (f'{",".join(COLUMNS)}\np,t,d,m,v,KL,1,,"a" b\n', "line 2: ',' expected after"),
        (f"{','.join(COLUMNS)}\np,t,d,m,v,KL,1,,\np,t,d,m,v,KL,2,,\n", "line 3: t / d / m / v / KL is also in line 2"),
        (f"{','.join(COLUMNS)}\np,t,d,m,v,PPL,1e400,down,\n", "line 2: 1e400 is not a finite number"),
    ],
)
def test_the_error_names_an_invalid_file(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(BenchError, match=complaint) as caught:
        PublishedFigures.load(tmp_path)
    assert "mine.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("\N{MINUS SIGN}1.0", -1.0),
        ("12,345.6", 12345.6),
        ("1,234,567", 1234567.0),
        ("12\N{NARROW NO-BREAK SPACE}345", 12345.0),
        ("12,34", None),
        ("1,2345", None),
        ("100k", None),
        ("inf", None),
    ],
)
def test_numbers_as_people_type_them(tmp_path: Path, printed: str, value: float | None) -> None:
    note = "a\u2028b\x85c\x0bd"
    text = f'\ufeff{",".join(COLUMNS)}\r\np,t,d,m,,KL,"{printed}",,{note}\r\np,t,d,n,,KL,2,,"two\nlines"\r\n'
    (tmp_path / "mine.csv").write_bytes(text.encode())
    first, second = PublishedFigures.load(tmp_path).figures
    assert (first.value, first.note) == (value, "a b c d")
    assert (second.value, second.note) == (2.0, "two lines")

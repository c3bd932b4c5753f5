"""Whatever a text holds, each format shows it and obeys none of it."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import escape
from bench.errors import LONGEST_MESSAGE, BenchError

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ANY = st.text(st.characters(categories=None) | st.sampled_from("\x1b\x9b\r\n\t\u2028|<>&\"'`\\=-+@#*_[]$%{}~^"))


@given(ANY)
def test_no_format_lets_a_control_character_through(text: str) -> None:
    for write in (escape.terminal, escape.line, escape.html, escape.latex, escape.markdown, escape.csv_cell):
        assert not CONTROL.search(write(text))
    assert not CONTROL.search(escape.json_text({text: [text]}))
    assert not CONTROL.search(escape.markdown_code(text))


@given(ANY)
def test_json_cannot_end_the_script_element_that_holds_it(text: str) -> None:
    written = escape.json_in_html({text: [text, 1.5, None]})
    assert not re.search("[<>&]", written)
    assert written.isascii()
    assert not CONTROL.search(written)
    shown = escape.terminal(text)
    assert json.loads(written) == {shown: [shown, 1.5, None]}


@given(ANY)
def test_a_line_is_one_line(text: str) -> None:
    for write in (escape.line, escape.one_line, escape.markdown, escape.latex):
        assert len(write(text).splitlines()) <= 1
    assert len(str(BenchError(text)).splitlines()) <= 1


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_text_that_controls_nothing_stays(text: str) -> None:
    assert escape.terminal(text) == text
    assert escape.line(text) == text


@given(ANY)
def test_html_shows_the_text(text: str) -> None:
    shown = ET.fromstring(f'<p title="{escape.html(text)}">{escape.html(text)}</p>')  # noqa: S314
    assert list(shown) == []
    assert (shown.text or "") == escape.terminal(text)


@given(ANY)
def test_markdown_has_no_cell_and_no_tag_in_it(text: str) -> None:
    assert not re.search(r"(?<!\\)(\\\\)*[|<]", escape.markdown(text))
    code = escape.markdown_code(text)
    quotes = re.match("`+", code)
    assert quotes is not None
    assert quotes[0] not in re.findall("`+", code)[1:-1]  # nothing inside ends the span


@given(ANY)
def test_no_text_is_a_mark_of_a_page_of_markdown(text: str) -> None:
    assert "<!--" not in escape.markdown(f"{text}<!-- /audit -->{text}")


@given(ANY)
def test_json_is_what_it_was(text: str) -> None:
    assert json.loads(escape.json_text([text])) == [text]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "--1", "-1e", "+", "-inf", "-->"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert str(escape.csv_cell(text)).startswith("'")


@pytest.mark.parametrize("text", ["-1", "-1.5e-3", "+2", "-.5", "12", "lm", "", "a=b", "<=3"])
def test_numbers_and_words_stay(text: str) -> None:
    assert escape.csv_cell(text) == text


def test_a_value_that_is_no_text_stays() -> None:
    assert [escape.csv_cell(value) for value in (-1.5, None, True)] == [-1.5, None, True]


@given(st.lists(ANY, min_size=1))
def test_cells_survive_a_csv(texts: list[str]) -> None:
    cells = [escape.csv_cell(text) for text in texts]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    assert next(csv.reader(io.StringIO(buffer.getvalue(), newline=""), strict=True)) == cells


@given(ANY)
def test_a_file_name_stays_in_its_folder(text: str) -> None:
    name = escape.file_name(text)
    assert re.fullmatch(r"[\w.+-]*", name)
    assert len(name.encode()) <= escape.LONGEST_NAME


def test_a_spelled_control_character_says_which() -> None:
    assert escape.terminal("a\x1b]0;x\x07\x9b\u202e\ud83d") == r"a\x1b]0;x\x07\x9b\u202e\ud83d"
    assert escape.line("a\tb\nc\u2028") == r"a\tb\nc\u2028"
    assert escape.latex("50% <b> α_1") == r"50\% \textless{}b\textgreater{} $\alpha$\_1"


def test_a_message_is_cut() -> None:
    assert len(str(BenchError("x" * 10_000))) == LONGEST_MESSAGE + 1

"""Reading ratings, and what follows from them: each mistake is one line; alpha as its definition says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.bootstrap import Bootstrap
from bench.errors import BenchError
from bench.human import Results, Study, draw_study, score_sheets
from bench.human.results import AGREEMENT, PERMUTATIONS, paired_test
from bench.records.store import StoredRun
from bench.report import render_table
from bench.significance import holm
from tests.human.conftest import CRITERIA, Fill

BOOTSTRAP = Bootstrap(samples=200)


@pytest.fixture
def study(runs: Sequence[StoredRun]) -> Study:
    """As many texts as a significant difference of three systems needs."""
    return draw_study(runs, texts=8, criteria=CRITERIA, raters=2, seed=7)


def alpha_by_definition(ratings: npt.NDArray[np.int64]) -> float:
    """Krippendorff's alpha for ordinal data without gaps (texts x raters): 1 - observed / expected disagreement.

    Both are means of the squared distance over pairs of ratings: of one text, and of all texts. The distance of two
    values is the number of ratings between them, the two values counted half (Krippendorff 2004, 11.3.2).
    """
    values = ratings.flatten()
    counts = {value: int((values == value).sum()) for value in range(1, 6)}

    def distance(a: int, b: int) -> float:
        low, high = sorted((a, b))
        return (sum(counts[v] for v in range(low, high + 1)) - (counts[a] + counts[b]) / 2) ** 2

    within = [distance(a, b) for text in ratings for a, b in itertools.permutations(text, 2)]
    between = [distance(a, b) for a, b in itertools.permutations(values, 2)]
    return 1 - float(np.mean(within)) / float(np.mean(between))


@pytest.mark.parametrize("seed", range(3))
def test_alpha_is_that_of_the_definition(fill: Fill, folder: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth: dict[str, int] = {}

    def rating(item: Any, criterion: str) -> int:
        return int(np.clip(truth.setdefault(item.name, generator.integers(1, 6)) + generator.integers(-1, 2), 1, 5))

    sheets = [fill("rater-1", rating), fill("rater-2", rating)]
    results = score_sheets(sheets, folder / "key.json", BOOTSTRAP)
    for task, criterion in itertools.product(("ptb", "quora"), CRITERIA):
        expected = alpha_by_definition(results.of_texts(task, None, criterion))
        assert results.alpha(task, criterion) == pytest.approx(expected, abs=1e-12)


def test_alpha_of_equal_raters_is_one_and_else_it_may_be_undefined(fill: Fill, folder: Path) -> None:
    sheets = [fill(rater, lambda item, criterion: 1 + len(item.label) % 5) for rater in ("rater-1", "rater-2")]
    results = score_sheets(sheets, folder / "key.json", BOOTSTRAP)
    assert results.alpha("ptb", "Fluency") == pytest.approx(1)
    assert score_sheets(sheets[:1], folder / "key.json", BOOTSTRAP).alpha("ptb", "Fluency") is None
    equal = score_sheets([fill("rater-1"), fill("rater-2")], folder / "key.json", BOOTSTRAP)
    assert equal.alpha("ptb", "Fluency") is None
    assert "not defined: one rater, or equal ratings only" in render_table(equal.table(), "md")


@pytest.fixture
def results(fill: Fill, folder: Path) -> Results:
    """Fluency depends on the system, coherence on the place alone, novelty on the rater alone."""
    base = {"lm": 1, "embed": 3, "della": 4}
    sheets = [
        fill(
            f"rater-{n + 1}",
            lambda item, criterion, n=n: {
                "Fluency": base[item.label] + n,
                "Coherence": 1 + item.position % 3,
                "Novelty": 2 + 2 * n,
            }[criterion],
        )
        for n in range(2)
    ]
    return score_sheets(sheets, folder / "key.json", BOOTSTRAP)


def test_means_are_over_raters_and_texts(results: Results, study: Study) -> None:
    for label, expected in (("lm", 1.5), ("embed", 3.5), ("della", 4.5)):
        value, interval = results.mean("quora", label, "Fluency")
        assert (value, interval.low, interval.high) == (expected, expected, expected)
    places = {item.position for item in study.key.items if item.task == "quora"}
    value, interval = results.mean("quora", "lm", "Coherence")
    assert value == pytest.approx(np.mean([1 + place % 3 for place in places]))
    assert interval.low <= value <= interval.high


def test_paired_tests_see_the_differences_at_each_place(results: Results) -> None:
    """Coherence varies much over places and not between systems: an unpaired test could not tell."""
    higher = results.higher_than("quora", "Fluency")
    assert {label: sorted(worse) for label, worse in higher.items()} == {
        "lm": [],
        "embed": ["lm"],
        "della": ["embed", "lm"],
    }
    assert all(p == pytest.approx(3 * 2 / 2**8) for worse in higher.values() for p in worse.values())
    assert results.higher_than("quora", "Coherence") == {"della": {}, "embed": {}, "lm": {}}
    assert all(test.difference == 0 and test.p_value == 1 for test in results.tests("quora", "Coherence").values())


@pytest.mark.parametrize("n", [1, 4, 9])
def test_the_paired_test_counts_all_changes_of_sign(n: int) -> None:
    generator = np.random.default_rng(n)
    first, second = generator.integers(1, 6, (2, n)).astype(np.float64)
    differences = first - second
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=n)
    ]
    found = paired_test(first, second, seed=0)
    assert found.difference == pytest.approx(differences.mean())
    assert found.p_value == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))


def test_few_texts_never_make_a_difference_significant() -> None:
    assert paired_test(np.full(5, 5.0), np.full(5, 1.0), seed=0).p_value == 2 / 2**5
    assert paired_test(np.full(30, 5.0), np.full(30, 1.0), seed=0).p_value == 2 / (PERMUTATIONS + 1)


def test_holm_multiplies_each_p_value_by_the_number_of_those_that_are_no_smaller() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_table_in_every_format(results: Results) -> None:
    table = results.table()
    assert [row.label for row in table.rows] == ["lm", "embed", "della", AGREEMENT]
    assert [cell.bold for cell in table.rows[2].cells] == [True, False, False] * 2
    markdown = render_table(table, "md")
    assert "| DELLA | **4.50 [4.50, 4.50]**<sup>b</sup> |" in markdown
    assert "<sup>b</sup> higher than Embed (p = 0.023), GPT-2 / BART (p = 0.023)" in markdown
    assert "Krippendorff's alpha" in markdown
    for table_format in ("csv", "latex", "html", "term"):
        assert "4.5" in render_table(table, table_format)


def test_published_figures_stand_beside_the_tasks_of_the_paper(results: Results) -> None:
    key = results.key
    items = tuple(item.model_copy(update={"task": "cnn_dailymail"}) for item in key.items if item.task == "quora")
    renamed = key.model_copy(update={"items": items, "titles": {"cnn_dailymail": "CNN/DM"}})
    markdown = render_table(Results(renamed, results.ratings, BOOTSTRAP).table(), "md")
    assert "| GPT-2 / BART (published) |  | 4.32 | 3.52 |" in markdown
    assert re.search(r"\| DELLA \(published\) \|  \| 4\.33<sup>(\w)</sup> \| 3\.56<sup>\1</sup> \|", markdown)
    assert "published figure: merged Informativeness cell" in markdown
    assert "Table 3; other texts and raters, so not comparable." in markdown


Change = Callable[[list[dict[str, Any]]], None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(), r"rater-1\.csv: no rating of t\w{4}-\d\d\.$"),
        (lambda rows: rows.__delitem__(slice(0, 9)), r"no rating of (t\w{4}-\d\d(, )?){5} and 4 more\.$"),
        (lambda rows: rows.append(rows[0]), r"line 50: t\w{4}-\d\d is rated twice\.$"),
        (lambda rows: rows[1].update(item="t0000-01"), r"line 3: 't0000-01' is not a text of this study\.$"),
        (
            lambda rows: rows[0].update(Fluency=6),
            r"line 2: Fluency of t\w{4}-\d\d: '6' is not a whole number from 1 to 5",
        ),
        (lambda rows: rows[0].update(Fluency=0), "'0' is not a whole number from 1 to 5"),
        (lambda rows: rows[0].update(Novelty="3.5"), "'3.5' is not a whole number from 1 to 5"),
        (lambda rows: rows[0].update(Novelty="٣"), "'٣' is not a whole number from 1 to 5"),
        (lambda rows: rows[2].update(Coherence=""), r"line 4: Coherence of t\w{4}-\d\d: no rating\.$"),
        (
            lambda rows: rows[0].update(rater="rater-9"),
            r"line 2: unknown rater 'rater-9'\..* Allowed: rater-1, rater-2",
        ),
        (lambda rows: rows[5].update(rater="rater-2"), r"line 7: a rating of rater-2 in the sheet of rater-1\.$"),
        (lambda rows: [row.pop("Novelty") for row in rows], "no column 'Novelty'; it has: rater, item, Fluency, Coh"),
    ],
)
def test_a_mistake_in_a_sheet_is_one_line(fill: Fill, folder: Path, change: Change, message: str) -> None:
    sheet = fill("rater-1", change=change)
    with pytest.raises(BenchError, match=message) as error:
        score_sheets([sheet], folder / "key.json")
    assert "rater-1.csv" in str(error.value)


def test_a_rater_counts_once(fill: Fill, folder: Path) -> None:
    sheet = fill("rater-1")
    copy = folder / "copy.csv"
    copy.write_text(sheet.read_text())
    with pytest.raises(BenchError, match=r"copy\.csv: the ratings of rater-1 are also in .*rater-1\.csv\.$"):
        score_sheets([sheet, copy], folder / "key.json")


def test_sheets_as_spreadsheets_write_them(fill: Fill, folder: Path) -> None:
    """With semicolons, a byte-order mark, other line ends, another order of columns, and empty lines at the end."""
    sheet = fill("rater-1", lambda item, criterion: 1 + len(item.label) % 5)
    expected = score_sheets([sheet], folder / "key.json").ratings
    rows = [line.split(",") for line in sheet.read_text().splitlines()]
    text = "\r\n".join(";".join([*reversed(row), "a note"]) for row in rows)
    sheet.write_text(f"\ufeff{text}\r\n;;;;;\r\n", newline="")
    assert score_sheets([sheet], folder / "key.json").ratings == expected


def test_a_missing_rater_is_noted(fill: Fill, folder: Path) -> None:
    notes = score_sheets([fill("rater-2")], folder / "key.json", BOOTSTRAP).table().notes
    assert "No sheet of rater-1." in notes

"""The leaderboard: rows in order, and fronts against brute force."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from bench.metric import Score
from bench.records.schema import Record
from bench.report.leaderboard import _front, render_leaderboard
from bench.suites import Layout

LAYOUT = Layout.model_validate(
    {"rows": ["a", "b", "c"], "tasks": ["ptb", "snli"], "metrics": ["PPL", {"name": "Excess", "optional": True}, "MI"]}
)


def rows_of(text: str) -> list[str]:
    return re.findall(r"^\| (\w+) \|", text, flags=re.MULTILINE)


def test_the_best_row_comes_first_by_excess_where_all_rows_have_it(
    make_run: Callable[..., Record], make_score: Callable[..., Score]
) -> None:
    values = {
        ("a", 0): (9.0, 1.0),
        ("a", 1): (9.0, 5.0),
        ("b", 0): (8.0, 2.0),
        ("b", 1): (8.0, 2.0),
        ("c", 0): (7.0, 4.0),
    }
    known = [
        make_run(label, "snli", seed, [make_score("PPL", ppl), make_score("Excess", excess)])
        for (label, seed), (ppl, excess) in values.items()
    ]
    unknown = [make_run(label, "ptb", 0, [make_score("PPL", ppl)]) for label, ppl in (("b", 3.0), ("a", 2.0))]
    text = render_leaderboard([*known, *unknown], LAYOUT)
    ptb, snli = text.split("#### snli")
    assert rows_of(ptb) == ["a", "b"]
    assert rows_of(snli) == ["b", "a", "c"]


def test_a_row_on_a_front_is_beaten_by_none(make_run: Callable[..., Record], make_score: Callable[..., Score]) -> None:
    values = {"a": (2.0, 1.0), "b": (3.0, 2.0), "c": (4.0, 1.5)}
    runs = [
        make_run(label, scores=[make_score("PPL", x), make_score("MI", y, unit="nats")])
        for label, (x, y) in values.items()
    ]
    assert "No row has a better MI and a better PPL than b (MI 2, PPL 3); a (MI 1, PPL 2)." in render_leaderboard(
        runs, LAYOUT
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8), st.sampled_from([-1, 1]))
def test_fronts_by_brute_force(points: list[tuple[int, int]], sign: int) -> None:
    means = {str(index): {"x": float(x), "y": float(y)} for index, (x, y) in enumerate(points)}
    front = {(x, y) for _, x, y in _front(means, "x", "y", sign)}
    beaten = {
        (x, y)
        for (x, y), (a, b) in product(points, points)
        if a >= x and sign * b >= sign * y and (a > x or sign * b > sign * y)
    }
    assert front == set(points) - beaten
    assert set(means) >= {label for label, _, _ in _front(means, "x", "y", sign)}


def test_without_runs_there_is_no_table() -> None:
    assert render_leaderboard([], LAYOUT) == ""

"""Suites: what a file leaves out is in its layout, and mistakes are named in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench import resources
from bench.errors import BenchError
from bench.suites import Suite, load_suite

Write = Callable[[str, Any], str]
LAYOUT = {
    "rows": ["lm", {"label": "della:independent", "title": "Separate"}],
    "tasks": [{"name": "snli"}],
    "metrics": ["PPL"],
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"systems": ["lm"]}, "tasks: Tuple should have at least 1 item"),
        ({"systems": [], "tasks": ["snli"]}, "systems: Tuple should have at least 1 item"),
        ({"systems": ["lm"], "tasks": ["snli"], "seed": [1]}, "unknown key 'seed'. Did you mean 'seeds'?"),
        ({"systems": "lm", "tasks": ["snli"]}, "systems: Input should be a valid tuple"),
        ({"systems": ["lm"], "tasks": ["snli"], "seeds": ["x"]}, "seeds.0: Input should be a valid integer"),
        ({"layout": {"rows": ["a"], "tasks": ["b"], "metrics": []}}, "layout.metrics: Tuple should have at least 1"),
        ({"layout": {**LAYOUT, "rows": [{"titel": "a"}]}}, "layout.rows.0.label: Field required."),
        (
            {"layout": {**LAYOUT, "rows": [{"label": "a", "titel": "b"}]}},
            "unknown key 'layout.rows.0.titel'. Did you mean 'title'?",
        ),
        ({"layout": {**LAYOUT, "colour": "red"}}, "unknown key 'layout.colour'. Allowed: caption, metrics, others"),
        ({"layout": 3}, "layout: Input should be a valid dictionary"),
    ],
)
def test_mistakes_in_a_suite_are_named_in_one_line(write_yaml: Write, content: Any, message: str) -> None:
    with pytest.raises(BenchError) as error:
        load_suite(write_yaml("mine.yaml", content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["../../pwn", "/etc/x", "a\\\\b", "..", "", "a\nb", "a\x9bb", "x" * 101, "\N{CAT FACE}" * 26]
)
def test_the_name_of_a_suite_is_no_path(write_yaml: Write, name: str) -> None:
    with pytest.raises(BenchError, match=r"a name (is not empty and has no path in it|has at most 100 bytes)"):
        load_suite(write_yaml("mine.yaml", {"name": name, "systems": ["lm"], "tasks": ["snli"]}))


@pytest.mark.parametrize("seed", [-1, 10**18, 10**200])
def test_seeds_of_a_suite_are_those_of_the_command(write_yaml: Write, seed: int) -> None:
    with pytest.raises(BenchError, match=r"seeds\.1: Input should be "):
        load_suite(write_yaml("mine.yaml", {"seeds": [0, seed], "systems": ["lm"], "tasks": ["snli"]}))


def test_a_suite_of_ones_own_is_called_like_its_file(write_yaml: Write) -> None:
    suite = load_suite(write_yaml("mine.yaml", {"systems": ["lm"], "tasks": ["snli"]}))
    assert (suite.name, suite.seeds) == ("mine", (0,))


def test_a_suite_runs_the_rows_and_tasks_of_its_layout_by_default(write_yaml: Write) -> None:
    suite = load_suite(write_yaml("mine.yaml", {"layout": LAYOUT}))
    assert (suite.systems, suite.tasks) == (("lm", "della:independent"), ("snli",))
    fewer = load_suite(write_yaml("mine.yaml", {"systems": ["lm"], "layout": LAYOUT}))
    assert (fewer.systems, fewer.tasks) == (("lm",), ("snli",))


def test_a_layout_has_the_title_of_its_suite_unless_it_has_its_own(write_yaml: Write) -> None:
    for layout, title in ((LAYOUT, "Mine"), ({**LAYOUT, "title": "Other"}, "Other")):
        suite = load_suite(write_yaml("mine.yaml", {"title": "Mine", "layout": layout}))
        assert suite.layout is not None
        assert suite.layout.title == title


@pytest.mark.parametrize("name", resources.names("suites"))
def test_a_suite_can_be_written_and_read_again(name: str) -> None:
    suite = load_suite(name)
    assert Suite.model_validate(suite.model_dump(mode="json")) == suite

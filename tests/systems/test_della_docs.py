"""The page on DELLA: every option and value is named, and every label on it is a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from bench.harness.plan import run_spec
from bench.scales import load_scale
from della.model import Della2022Config, DellaConfig

PAGE = (Path(__file__).parents[2] / "docs" / "della.md").read_text(encoding="utf-8")
LABELS = re.findall(r"\| `([^`]+)` \|\n", PAGE.partition("## Rows of the paper")[2])


@pytest.mark.parametrize("option", DellaConfig.model_fields)
def test_every_option_and_every_word_is_named(option: str) -> None:
    assert f"`{option}`" in PAGE
    words = [word for word in get_args(DellaConfig.model_fields[option].annotation) if isinstance(word, str)]
    assert all(re.search(rf"`(\w+=)?{word}`", PAGE) for word in words)


@pytest.mark.parametrize("option", DellaConfig.model_fields)
def test_what_the_released_code_differs_in_is_named(option: str) -> None:
    released = PAGE.partition("## As released")[2]
    differs = Della2022Config.model_fields[option].default != DellaConfig.model_fields[option].default
    spoken = {"rank": "rank 4", "clamp": "clamped", "posterior_sees_condition": "does not see the condition"}
    assert (re.search(spoken.get(option, rf"`{option}\b"), released) is not None) == differs


@pytest.mark.parametrize("label", LABELS)
def test_every_label_is_a_run(label: str) -> None:
    scale = load_scale("base")
    assert run_spec(label, "yelp", 0, "base", scale, "grammar").system.label == label


def test_the_rows_are_those_of_every_table() -> None:
    assert len(LABELS) == PAGE.count("\n| Table ") + PAGE.count("\n| Figure ")

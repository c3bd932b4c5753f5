"""The rows of the paper in docs/della.md: every label resolves to a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.harness.plan import run_spec
from bench.scales import load_scale

PAGE = (Path(__file__).parents[2] / "docs" / "della.md").read_text(encoding="utf-8")
LABELS = re.findall(r"\| `([^`]+)` \|\n", PAGE.partition("## Rows of the paper")[2])


@pytest.mark.parametrize("label", LABELS)
def test_every_label_is_a_run(label: str) -> None:
    scale = load_scale("base")
    assert run_spec(label, "yelp", 0, "base", scale, "grammar").system.label == label

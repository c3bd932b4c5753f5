"""The page on text metrics: its example runs, and it names every metric and every tokenizer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.metrics.text import TEXT_METRICS
from bench.metrics.tokens import TOKENIZERS

PAGE = (Path(__file__).parents[2] / "docs" / "text-metrics.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})  # noqa: S102


@pytest.mark.parametrize("name", [*TEXT_METRICS, *TOKENIZERS])
def test_everything_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE

"""The figure of the study of the estimators, where matplotlib is installed (``tox -e estimators``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.estimators.study import read_csv

pytest.importorskip("matplotlib")

DOCS = Path(__file__).parents[2] / "docs"


def test_it_is_drawn_from_the_stored_estimates() -> None:
    from tests.estimators.figure import draw

    estimates = read_csv((DOCS / "estimators.csv").read_text(encoding="utf-8"))
    assert draw(estimates) == (DOCS / "estimators.svg").read_bytes(), "run: python -m tests.estimators docs"

"""The records under results/reference, which a checkout has and an sdist lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
WHY_MISSING = "results/reference is part of the checkout only"

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason=WHY_MISSING)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.records.schema import Record

HISTORIC = Path(__file__).parent / "historic"


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Makes the historic record anew, with changes."""

    def make(**changes: Any) -> Record:
        return Record.model_validate({**json.loads((HISTORIC / "v1.json").read_text()), **changes})

    return make

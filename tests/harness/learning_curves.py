"""The learning curve that a run left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.records.schema import Record
from bench.records.store import CURVE, RecordStore


def curve(out: Path, record: Record) -> list[dict[str, Any]]:
    """Returns the rows of the curve that lies beside ``record`` in ``out``."""
    path = RecordStore(out).path(record.spec, record.run_id) / CURVE
    return [json.loads(line) for line in path.read_text().splitlines()]

"""``python -m tests.estimators docs`` runs the study: half a minute on one core."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.storage import atomic_write_all
from tests.estimators.figure import draw
from tests.estimators.study import STUDIES, documents, read_csv, write_csv

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # The figure shows the stored digits, so that it can be drawn again from the file.
    estimates = read_csv(write_csv(estimate for study in STUDIES for estimate in study()))
    atomic_write_all({**documents(estimates, folder), folder / "estimators.svg": draw(estimates)})

"""``python -m tests.estimators docs`` runs the study: three minutes on one core.

Without the folder of real texts (``DELLA_BENCH_DATA``), the stored estimates of the intervals on real texts stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.storage import atomic_write_all
from tests.estimators.figure import draw
from tests.estimators.study import STUDIES, documents, read_csv, write_csv

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # The figure shows the stored digits, so that it can be drawn again from the file.
    stored = read_csv((folder / "estimators.csv").read_text(encoding="utf-8"))
    by_study = [list(study()) or [old for old in stored if old.study == study.__name__] for study in STUDIES]
    estimates = read_csv(write_csv(estimate for estimates in by_study for estimate in estimates))
    atomic_write_all({**documents(estimates, folder), folder / "estimators.svg": draw(estimates)})

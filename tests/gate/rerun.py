"""``python -m tests.gate.rerun [SEED]`` repeats a run of each folder of reference records from the spec of its record.

The runs are drawn by the seed, by default the day. On a machine of the same kind the scores must agree to 1e-6, on
others within the tolerances of ``della-bench compare``, whose exit codes these are. Runs on real texts need
DELLA_BENCH_DATA.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.cli.output import say
from bench.harness.run import run
from bench.metric import PerTextMetric
from bench.metrics.model import model_metrics
from bench.records.compare import compare_runs
from bench.records.render import render_comparison
from bench.records.store import StoredRun, load_runs
from bench.specs import RunSpec
from tests.gate.regress import worst
from tests.reference_records import REFERENCE


def drawn(folders: Sequence[Path], seed: int, data: str | None) -> Iterator[StoredRun]:
    """Yields a run of each folder; one on a grammar if there are no real texts."""
    for folder in sorted(folders):
        usable = [stored for stored in load_runs([folder]) if data or stored.record.data.source == "grammar"]
        if usable:
            yield random.Random(f"{seed} {folder.name}").choice(sorted(usable, key=lambda stored: stored.record.run_id))


def main(folders: Sequence[Path], seed: int) -> int:
    """Repeats the runs, prints the comparisons and returns the worst exit code."""
    data = os.environ.get("DELLA_BENCH_DATA")
    metrics = {metric.name: metric for metric in model_metrics() if isinstance(metric, PerTextMetric)}
    codes = []
    for stored in drawn(folders, seed, data):
        say(f"{stored.path.parent}: again")
        with tempfile.TemporaryDirectory() as out:
            run(RunSpec.model_validate(stored.record.spec), Path(out), Path(data) if data else None)
            compared = compare_runs([stored], load_runs([Path(out)]), metrics, exact=True)
        say(render_comparison(compared, "term", False), nl=False)
        codes.append(compared.exit_code)
    return worst(codes) if codes else 2


if __name__ == "__main__":
    SEED = int(sys.argv[1]) if len(sys.argv) > 1 else datetime.now(UTC).toordinal()
    sys.exit(main([folder for folder in REFERENCE.iterdir() if folder.is_dir()], SEED))

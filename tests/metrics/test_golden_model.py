"""Values of the model metrics on fixed scored texts: a value may move only together with its metric's version."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.metrics.model import model_metrics
from tests.metrics.scored_cases import random_scored
from tests.metrics.test_golden_text import Golden, moved

GOLDEN = Path(__file__).with_name("golden_model.json")
COMMAND = "python -m tests.metrics.test_golden_model > tests/metrics/golden_model.json"
SCORED = random_scored(seed=2022, n=50, k=8, groups=(4, 4, 8))


def measured() -> Golden:
    scores = [(metric.version, metric.score(SCORED)) for metric in model_metrics(SCORED.groups, SCORED.probe_hits)]
    return {
        score.name: {"version": version, "value": score.value, "signature": score.signature}
        for version, score in scores
    }


@pytest.fixture(scope="module")
def golden() -> Golden:
    return json.loads(GOLDEN.read_text())


def test_no_value_moved_without_its_version(golden: Golden) -> None:
    names = moved(golden, measured())
    assert not names, f"{names} moved: raise their version, then run: {COMMAND}"


def test_the_file_holds_every_metric_at_its_version(golden: Golden) -> None:
    stored, found = ({name: line["version"] for name, line in lines.items()} for lines in (golden, measured()))
    assert stored == found, f"the file is out of date; run: {COMMAND}"


def test_the_command_writes_the_file_anew(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    written = json.loads(capsys.readouterr().out)
    assert written.keys() == golden.keys()
    assert not moved(golden, written)


def write() -> None:
    sys.stdout.write(json.dumps(measured(), indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()

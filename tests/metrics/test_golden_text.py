"""Values on a fixed input, by metric and version: a value may move only together with its metric's version.

Regenerate with ``python tests/metrics/test_golden_text.py``, which refuses a value that moved without its version.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.metrics.text import TEXT_METRICS, TextSet

GOLDEN = Path(__file__).with_name("golden_text.json")
COMMAND = "python tests/metrics/test_golden_text.py"
NAMES = sorted(set(TEXT_METRICS.builtin) - {"MAUVE", "BERTScore"})  # these depend on weights and libraries

SAMPLES = (
    "the old ferry left the harbour before the rain began .",
    "the old ferry left the island , and the rain began again .",
    "Nobody's fault, said the pilot: it costs $1,200.50 to repair.",
    "nobody said anything .",
    "",
    "ferry",
    "the rain , the rain , the rain .",
    "Żeby w zatoce padał śnieg, trzeba zimy - 冬 !",
)
REFERENCES = (
    "the old ferry left the harbour before it began to rain .",
    "the ferry left the island when the rain began again .",
    "It's nobody's fault, the pilot said: repairs cost $1,200.50.",
    "nobody said a word .",
    "the harbour was empty .",
    "the ferry",
    "the rain fell on the harbour .",
    "W zatoce padał śnieg - 冬 .",
)
INPUTS = TextSet(
    SAMPLES, tuple((text,) for text in REFERENCES), train=(*REFERENCES[:3], "nobody  said anything ."), per_source=4
)

Golden = dict[str, dict[str, float | int | str]]


def measured() -> Golden:
    scores = {name: (TEXT_METRICS.get(name)(), TEXT_METRICS.get(name)().score(INPUTS)) for name in NAMES}
    return {
        name: {"version": metric.version, "value": score.value, "signature": score.signature}
        for name, (metric, score) in scores.items()
    }


def moved(old: Golden, new: Golden) -> list[str]:
    """Returns the metrics whose value or signature moved while the version did not."""
    return [
        name
        for name in sorted(old.keys() & new.keys())
        if old[name]["version"] == new[name]["version"]
        and (
            old[name]["signature"] != new[name]["signature"]
            # 1e-12: the same arithmetic, on another machine's exp and log.
            or not math.isclose(float(old[name]["value"]), float(new[name]["value"]), rel_tol=1e-12, abs_tol=1e-12)
        )
    ]


def regenerate() -> None:
    new = measured()
    if GOLDEN.is_file() and (names := moved(json.loads(GOLDEN.read_text()), new)):
        raise SystemExit(f"moved while the version did not: {', '.join(names)}. Raise the version of each first.")
    GOLDEN.write_text(json.dumps(new, indent=2, sort_keys=True) + "\n")


@pytest.fixture(scope="module")
def golden() -> Golden:
    return json.loads(GOLDEN.read_text())


def test_no_value_moved_without_its_version(golden: Golden) -> None:
    names = moved(golden, measured())
    assert not names, f"{names} moved: raise their version, then run: {COMMAND}"


def test_the_file_holds_every_metric_at_its_version(golden: Golden) -> None:
    new = measured()
    versions = [{name: line["version"] for name, line in lines.items()} for lines in (golden, new)]
    assert versions[0] == versions[1], f"the file is out of date; run: {COMMAND}"


def test_the_command_is_this_file() -> None:
    assert (Path(__file__).parents[2] / COMMAND.split()[1]).samefile(__file__)


def test_a_move_is_noticed() -> None:
    old = measured()
    same_version = {**old, "CND": {**old["CND"], "value": float(old["CND"]["value"]) + 1e-9}}
    next_version = {**old, "CND": {**same_version["CND"], "version": 2}}
    assert (moved(old, old), moved(old, same_version), moved(old, next_version)) == ([], ["CND"], [])


if __name__ == "__main__":
    regenerate()

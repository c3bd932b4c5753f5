"""The verb ``compare``: exit codes, formats, what is allowed, and the replacement of records."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.records.comparison import OBSTACLES
from bench.records.schema import Record, RecordedScore
from bench.records.store import RecordStore, load_runs
from tests.cli.cli_process import Finished

DellaBench = Callable[..., Finished]
Write = Callable[..., None]
COUNTS = "1 ok, 0 regression, 0 improvement, 0 incomparable\n"


@pytest.fixture
def write(workplace: Path, make_record: Callable[..., Record]) -> Write:
    """Writes a run with a perplexity into a set; a set of another name was made at another time."""

    def write(which: str, value: float, signature: str = "PPL|v:1", seed: int = 0, **changes: Any) -> None:
        content = {
            "metrics": [RecordedScore("PPL", value, "1", "down", 3, signature, 0.02)],
            "skipped": [],
            "training": {},
            "spec": {**make_record().spec, "seed": seed},
            "run_id": f"{seed:012x}",
            "created": f"20{30 + len(which)}-01-01T00:00:00Z",
        }
        RecordStore(workplace / which).write(make_record(**{**content, **changes}))

    return write


@pytest.mark.parametrize(
    ("second", "options", "code", "line"),
    [
        ({"value": 20.1}, (), 0, ""),
        ({"value": 25.0}, (), 1, "regression: ptb della smoke seed 0 PPL 20 -> 25 (+25.00%, tolerance 2.00%)"),
        ({"value": 15.0}, (), 0, "improvement: ptb della smoke seed 0 PPL 20 -> 15 (-25.00%, tolerance 2.00%)"),
        (
            {"value": 60.0, "signature": "PPL|v:2"},
            (),
            3,
            "incomparable: ptb della smoke seed 0 PPL: signatures differ: PPL|v:1 and PPL|v:2",
        ),
        (
            {"value": 20.0, "components": {"train": 9}},
            (),
            3,
            "incomparable: ptb della smoke seed 0 spec: the runs differ",
        ),
        (
            {"value": 25.0, "components": {"train": 9}},
            (),
            1,
            "incomparable: ptb della smoke seed 0 spec: the runs differ",
        ),
        ({"value": 20.0, "components": {"train": 9}}, ("--allow", "spec"), 0, "allowed: ptb della smoke seed 0 spec:"),
        (
            {"value": 20.0, "seed": 1},
            ("--allow", "missing"),
            3,
            "allowed: ptb della smoke seed 0 run: finished (000000000000) in the first set, no run in the second",
        ),
        (
            {"value": 20.1},
            ("--exact",),
            0,
            "runs judged by tolerances, not exactly: 1; their machines differ in",
        ),
    ],
)
def test_exit_codes(
    della_bench: DellaBench, write: Write, second: dict[str, Any], options: tuple[str, ...], code: int, line: str
) -> None:
    write("first", 20.0)
    write("second", **second)
    done = della_bench("compare", "first", "second", *options)
    assert (done.code, done.err) == (code, "")
    assert done.out.startswith(line or COUNTS)


def test_the_help_states_the_exit_codes_and_what_can_be_allowed(della_bench: DellaBench) -> None:
    text = " ".join(della_bench("compare", "--help").out.replace("│", " ").split())
    assert "Exit code 0: nothing got worse. 1: something got worse. 2: a mistake in the command. 3: something" in text
    for kind in ("incomparable", *OBSTACLES):
        assert kind in text


def test_a_copy_is_named_and_fails(della_bench: DellaBench, write: Write, workplace: Path) -> None:
    write("first", 20.0)
    (workplace / "copy").symlink_to("first")
    done = della_bench("compare", "first", "copy")
    assert (done.code, "are one folder" in done.err) == (2, True)
    (workplace / "copy").unlink()
    (workplace / "copy").mkdir()
    (workplace / "copy" / "record.json").write_bytes(next((workplace / "first").rglob("record.json")).read_bytes())
    done = della_bench("compare", "first", "copy")
    assert done.code == 3
    assert done.out.startswith(
        "incomparable: ptb della smoke seed 0 run: copies of one run: 000000000000 of 2035-01-01"
    )
    assert della_bench("compare", "first", "copy", "--allow", "same").code == 0


def test_formats(della_bench: DellaBench, write: Write) -> None:
    write("first", 20.0)
    write("second", 25.0)
    forms = {
        form: della_bench("compare", "first", "second", "--format", form) for form in ("term", "md", "json", "junit")
    }
    assert {done.code for done in forms.values()} == {1}
    assert json.loads(forms["json"].out)["exit_code"] == 1
    assert ET.fromstring(forms["junit"].out).get("failures") == "1"  # noqa: S314
    assert "| regression | ptb della smoke seed 0 PPL | 20 | 25 | +25.00% |" in forms["md"].out
    assert della_bench("compare", "first", "second") == forms["term"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--allow", "misssing"), "unknown kind of --allow 'misssing'. Did you mean 'missing'?"),
        (("--allow", "missing:PLP"), "unknown name of --allow missing 'PLP'. Did you mean 'PPL'?"),
        (("--format", "junot"), "unknown format 'junot'. Did you mean 'junit'?"),
        (("--update",), "--update: needs --reason"),
        (("--update", "--reason", " "), "--update: needs --reason"),
        (("--reason", "why"), "--reason: only with --update."),
    ],
)
def test_mistakes(
    della_bench: DellaBench, write: Write, workplace: Path, options: tuple[str, ...], message: str
) -> None:
    write("first", 20.0)
    write("second", 21.0)
    done = della_bench("compare", "first", "second", *options)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err
    (run,) = load_runs([workplace / "first"])
    assert run.record.metrics[0].value == 20.0


def test_update(della_bench: DellaBench, write: Write, workplace: Path) -> None:
    for seed in (0, 1):
        write("first", 20.0, seed=seed)
    write("second", 25.0)
    command = ("compare", "first", "second", "--update", "--reason", "the loss counts the end of the text")
    refused = della_bench(*command)
    assert (refused.code, refused.out) == (2, "")
    assert "nothing replaced: the second set has no finished ptb della smoke seed 1" in refused.err
    done = della_bench(*command, "--allow", "missing")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].startswith("regression: ptb della smoke seed 0 PPL 20 -> 25")
    assert "records: 1 replaced, 0 added, 0 unchanged, 1 kept without a successor" in done.out.splitlines()
    first, second = load_runs([workplace / "first"])
    assert (first.record.metrics[0].value, second.record.metrics[0].value) == (25.0, 20.0)
    (revision,) = first.record.history
    assert (revision.reason, revision.moved) == ("the loss counts the end of the text", {"PPL": (20.0, 25.0)})
    assert replace(first, record=second.record).record.history == ()


def benchmarks(path: Path, ratios: list[float], seconds: float = 0.5) -> None:
    content = [
        {"fullname": f"test_{place}", "stats": {"median": seconds}, "extra_info": {"ratio": ratio}}
        for place, ratio in enumerate(ratios)
    ]
    path.write_text(json.dumps({"machine_info": {"python_version": "3.11.7"}, "benchmarks": content}))


def test_two_benchmark_files(della_bench: DellaBench, workplace: Path) -> None:
    benchmarks(workplace / "before.json", [1.0, 2.0, 0.5])
    benchmarks(workplace / "after.json", [1.1, 3.0, 0.1])
    worse = "regression: test_1 ratio 2 -> 3 (+50.00%, tolerance 25.00%, seconds 0.5 -> 0.5)\n"
    better = "improvement: test_2 ratio 0.5 -> 0.1 (-80.00%, tolerance 25.00%, seconds 0.5 -> 0.5)\n"
    counts = "1 ok, 1 regression, 1 improvement, 0 incomparable\n"
    assert della_bench("compare", "before.json", "after.json") == Finished(1, worse + better + counts, "")
    benchmarks(workplace / "fewer.json", [1.0, 2.0])
    lost = "{}: test_2 ratio: ratio 0.5 in the first file, no benchmark in the second\n"
    for options, word, code in (((), "incomparable", 3), (("--allow", "missing:test_2"), "allowed", 0)):
        done = della_bench("compare", "before.json", "fewer.json", *options)
        assert (done.code, done.out.startswith(lost.format(word))) == (code, True)
    for option in (("--exact",), ("--update", "--reason", "why")):
        refused = della_bench("compare", "before.json", "fewer.json", *option)
        assert (refused.code, refused.err) == (2, f"della-bench: {option[0]}: only for records, not for benchmarks.\n")

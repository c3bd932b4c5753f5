from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.bootstrap import Interval
from bench.errors import BenchError
from bench.metric import Score
from bench.records.schema import SCHEMA_VERSION, Record, RecordedScore, json_schema, parse_record
from bench.records.store import RecordStore

ROOT = Path(__file__).parents[2]
HISTORIC = sorted((Path(__file__).parent / "historic").glob("*.json"))
SCORE = Score("PPL", 21.5, "1", "down", 200, "PPL|est:iw|v:1", 0.02, Interval(20.0, 23.0))
REVISION: dict[str, Any] = {
    "date": "2030-01-01T00:00:00Z",
    "reason": "the loss counts the end of the text",
    "run_id": "0" * 12,
    "created": "2029-01-01T00:00:00Z",
    "suite_version": "0.1.0",
    "commit": None,
    "moved": {"PPL": [21.5, 20.25], "AU": [None, 3.0]},
}


def test_json_schema_is_current() -> None:
    """Regenerate with: python -m bench.records.schema > results/record.schema.json."""
    assert (ROOT / "results" / "record.schema.json").read_text(encoding="utf-8") == json_schema()


@pytest.mark.parametrize("path", HISTORIC, ids=lambda path: path.stem)
def test_every_historic_record_still_loads(path: Path) -> None:
    record = parse_record(path.read_bytes(), str(path))
    assert (record.task, record.label, record.scale, record.seed) == ("ptb", "della", "smoke", 0)
    assert record.metrics[0].interval == Interval(20.25, 22.75, 0.95, "bootstrap:1000:12345")


def test_there_is_a_historic_record_of_the_current_schema() -> None:
    assert f"v{SCHEMA_VERSION}" in {path.stem for path in HISTORIC}


def test_bytes_round_trip(make_record: Callable[..., Record]) -> None:
    record = make_record()
    assert parse_record(record.to_json(), "memory") == record
    assert parse_record(record.to_json(), "memory").to_json() == record.to_json()


def test_a_changed_record_is_refused_until_its_digest_is_deleted(make_record: Callable[..., Record]) -> None:
    """As is every flipped bit, in whatever byte."""
    record = make_record()
    data = record.to_json()
    for place in range(0, 8 * len(data), 13):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(BenchError, match=r"^r\.json: "):
            parse_record(bytes(flipped), "r.json")
    content = json.loads(data)
    content["commit"] = "0" * 40
    with pytest.raises(BenchError, match=r"^r\.json: damaged, or edited without deleting its 'sha256'"):
        parse_record(json.dumps(content).encode(), "r.json")
    del content["sha256"]
    assert parse_record(json.dumps(content).encode(), "r.json") == make_record(commit="0" * 40)


def test_an_older_record_is_upgraded_version_by_version(make_record: Callable[..., Record]) -> None:
    content = make_record().model_dump(mode="json")
    content["schema_version"] = -1
    content["identity"] = content.pop("run_id")
    steps = {
        -1: lambda old: {**old, "schema_version": 0},
        0: lambda old: {"run_id": old.pop("identity"), **old, "schema_version": 1},
    }
    assert parse_record(json.dumps(content).encode(), "old.json", steps) == make_record()
    with pytest.raises(BenchError, match=r"old\.json: record of schema -1"):
        parse_record(json.dumps(content).encode(), "old.json")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "no schema_version"),
        (b'{"name": "some package", "version": 3}', "no schema_version"),
        (b'{"schema_version": 99}', r"schema 99; this version reads up to 1"),
        (b'{"schema_version": 1}', r"run_id: Field required"),
    ],
)
def test_the_error_names_what_is_not_a_record(data: Any, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint) as caught:
        parse_record(data, "runs/x/record.json")
    assert str(caught.value).startswith("runs/x/record.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [("system", "label"), ("task", "name"), ("scale",), ("seed",)])
def test_a_spec_must_have_the_entries_that_determine_the_cell(
    make_record: Callable[..., Record], missing: tuple[str, ...]
) -> None:
    spec = json.loads(json.dumps(make_record().spec))
    place = spec
    for key in missing[:-1]:
        place = place[key]
    del place[missing[-1]]
    with pytest.raises(ValidationError, match=missing[-1]):
        make_record(spec=spec)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"loss": math.nan}},
        {"metrics": [{**SCORE.as_dict(), "value": math.inf}]},
        {"metrics": [{**SCORE.as_dict(), "higher_is_better": True}]},
        {"run_id": "xyz"},
        {"comment": "hello"},
    ],
    ids=["nan summary", "infinite score", "unknown key of a score", "bad id", "unknown key"],
)
def test_an_invalid_record_is_an_error(make_record: Callable[..., Record], changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_record(**changes)


def test_a_recorded_score_is_the_score_and_its_split() -> None:
    recorded = RecordedScore.of(SCORE, "valid")
    assert recorded.split == "valid"
    assert {**vars(recorded)} == {**vars(SCORE), "split": "valid"}


def test_a_history_is_read_back_and_needs_a_reason(make_record: Callable[..., Record]) -> None:
    record = make_record(history=[REVISION])
    assert parse_record(record.to_json(), "memory") == record
    assert json.loads(record.to_json())["history"] == [REVISION]
    with pytest.raises(ValidationError, match=r"history\.0\.reason"):
        make_record(history=[{**REVISION, "reason": " \n"}])


def test_measurement_ignores_only_time_machine_commit_speed_and_history(make_record: Callable[..., Record]) -> None:
    record = make_record()
    repeated = make_record(
        created="2031-01-01T00:00:00Z",
        commit="f" * 40,
        dirty=True,
        timings=[],
        peak_memory_bytes=None,
        environment={**record.environment.model_dump(), "device": "another", "threads": 64},
        training={**record.training, "tokens_per_second": 1.0},
        history=[REVISION],
    )
    assert repeated != record
    assert repeated.measurement() == record.measurement()
    different: list[dict[str, Any]] = [
        {"training": {**record.training, "steps": 641}},
        {"seeds": {}},
        {"metrics": []},
        {"status": "diverged"},
    ]
    for changes in different:
        assert make_record(**changes).measurement() != record.measurement()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_value_round_trips_exactly(value: float) -> None:
    content = json.loads(HISTORIC[0].read_text())
    content["metrics"][0]["value"] = value
    record = parse_record(json.dumps(content).encode(), "memory")
    assert parse_record(record.to_json(), "memory").metrics[0].value == value


NOT_STORABLE: dict[str, dict[str, Any]] = {
    "interval": {
        "metrics": (RecordedScore("PPL", 1.0, "1", "down", 3, "PPL|v:1", 0.02, Interval(1.0, math.inf)),),
    },
    "value": {"metrics": (RecordedScore("PPL", math.nan, "1", "down", 3, "PPL|v:1"),)},
    "tolerance": {"metrics": (RecordedScore("PPL", 1.0, "1", "down", 3, "PPL|v:1", math.inf),)},
    "training": {"training": {"tokens_per_second": math.inf}},
    "statistics": {"data": {"statistics": {"mean": math.nan}}},
    "half a surrogate pair": {"reason": "\ud800"},
}


@pytest.mark.parametrize("changes", NOT_STORABLE.values(), ids=NOT_STORABLE)
def test_nothing_is_written_that_the_reader_refuses(
    changes: dict[str, Any], make_record: Callable[..., Record], tmp_path: Path
) -> None:
    """``model_copy`` validates nothing, as dataclasses inside a record do not."""
    record = make_record()
    if "data" in changes:
        changes = {"data": record.data.model_copy(update=changes["data"])}
    with pytest.raises(BenchError, match="record of ptb della"):
        RecordStore(tmp_path).write(record.model_copy(update=changes))
    assert not list(tmp_path.rglob("*.json"))


def test_a_score_keeps_its_value_without_an_interval_that_is_not_finite() -> None:
    score = Score("PPL word", 1.9e273, "1", "down", 3, "PPL word|v:1", 0.02, Interval(1.0, math.inf))
    recorded = RecordedScore.of(score)
    assert (recorded.value, recorded.interval) == (1.9e273, None)
    assert RecordedScore.of(replace(score, interval=Interval(1.0, 2.0))).interval == Interval(1.0, 2.0)

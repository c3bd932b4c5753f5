from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError
from bench.records.schema import Record
from bench.records.store import RecordStore, StoredRun, load_runs
from bench.storage import atomic_write, temporary_path
from tests.full_disk import files_of_at_most

HISTORIC = Path(__file__).parent / "historic" / "v1.json"
STATISTICS = {"PPL": np.array([[1.5, 2.0], [0.1, 3.0]]), "KL": np.array([[0.25], [0.5]])}


def test_a_run_is_a_folder_with_four_files(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    record = make_record()
    stored = RecordStore(tmp_path).write(record, STATISTICS, [{"text": "naïve"}], [{"step": 1, "loss": 2.5}])
    folder = tmp_path / f"ptb.della.s0.{record.run_id}"
    assert stored.path == folder / "record.json"
    assert sorted(path.name for path in folder.iterdir()) == [
        "curve.jsonl",
        "generations.jsonl",
        "record.json",
        "statistics.npz",
    ]
    assert json.loads((folder / "generations.jsonl").read_text(encoding="utf-8")) == {"text": "naïve"}
    assert json.loads((folder / "curve.jsonl").read_text()) == {"step": 1, "loss": 2.5}
    assert {name: rows.tolist() for name, rows in stored.statistics().items()} == {
        name: rows.tolist() for name, rows in STATISTICS.items()
    }


def test_the_same_statistics_are_the_same_bytes(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    files = []
    for place in ("a", "b"):
        stored = RecordStore(tmp_path / place).write(make_record(), STATISTICS)
        files.append(stored.path.with_name("statistics.npz").read_bytes())
    assert files[0] == files[1]


def test_a_label_cannot_leave_the_store(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    spec = make_record().spec
    spec["system"]["label"] = "../embed+free_bits:0.5"
    record = make_record(spec=spec)
    stored = RecordStore(tmp_path).write(record)
    assert stored.path.parent == tmp_path / f"ptb..._embed+free_bits_0.5.s0.{record.run_id}"
    assert RecordStore(tmp_path).find(record.run_id) == stored


@pytest.mark.parametrize("task", ["../../pwn", "/etc", "a\0b", "..", "x" * 500, "\N{CAT FACE}" * 100])
def test_no_name_leaves_the_store(tmp_path: Path, make_record: Callable[..., Record], task: str) -> None:
    spec = make_record().spec
    spec["task"]["name"] = spec["system"]["label"] = task
    path = RecordStore(tmp_path).path(spec, "0" * 12)
    assert path.parent == tmp_path
    path.mkdir()


@pytest.mark.parametrize(
    "arrays",
    [
        {"PPL": np.zeros(3)},
        {"PPL": np.zeros((0, 1))},
        {"PPL": np.zeros((2, 1), dtype=np.float32)},
        {"PPL": np.array([["1"]])},
    ],
)
def test_statistics_are_matrices_of_numbers(
    tmp_path: Path, make_record: Callable[..., Record], arrays: dict[str, np.ndarray]
) -> None:
    stored = RecordStore(tmp_path).write(make_record())
    np.savez_compressed(stored.path.with_name("statistics.npz"), **arrays)
    with pytest.raises(BenchError, match=r"statistics\.npz: not per-text statistics \(expected a matrix"):
        stored.statistics()


def test_statistics_cannot_fill_the_memory(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    stored = RecordStore(tmp_path).write(make_record())
    with (
        zipfile.ZipFile(stored.path.with_name("statistics.npz"), "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("PPL.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(65):
            member.write(bytes(2**24))
    with pytest.raises(BenchError, match=r"larger than 1024 MiB unpacked"):
        stored.statistics()


def test_find_ignores_incomplete_runs(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    store, record = RecordStore(tmp_path), make_record()
    assert store.find(record.run_id) is None
    store.path(record.spec, record.run_id).mkdir()
    atomic_write(store.path(record.spec, record.run_id) / "statistics.npz", b"unfinished")
    assert store.find(record.run_id) is None
    store.write(record)
    assert store.find(record.run_id).record == record


def test_loading_is_recursive_ordered_and_reads_each_file_once(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    records = [make_record(run_id=f"{i:012x}") for i in (3, 1, 2)]
    for record in records:
        RecordStore(tmp_path / "deep" / "er").write(record)
    single = RecordStore(tmp_path / "other").write(make_record(run_id="f" * 12)).path
    loaded = load_runs([single, tmp_path, tmp_path / "deep"])
    assert [run.record.run_id[-1] for run in loaded] == ["f", "1", "2", "3"]
    assert [run.record for run in load_runs([tmp_path / "deep"])] == sorted(records, key=lambda record: record.run_id)
    with pytest.raises(BenchError, match="nowhere: no such"):
        load_runs([tmp_path / "nowhere"])


def test_statistics_of_some_metrics(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    stored = RecordStore(tmp_path).write(make_record(), STATISTICS)
    assert {name: rows.tolist() for name, rows in stored.statistics(["KL", "unknown"]).items()} == {
        "KL": [[0.25], [0.5]]
    }


def test_a_run_that_is_being_written_is_not_read(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    """But one in a folder that only looks alike is."""
    stored = RecordStore(tmp_path).write(make_record())
    written = temporary_path(stored.path.parent)
    stored.path.parent.rename(written)
    assert load_runs([tmp_path]) == []
    written.rename(tmp_path / ".mine.tmp")
    assert len(load_runs([tmp_path])) == 1


def test_reading_leaves_the_garbage_collector_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{")
    for enabled in (False, True):
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(BenchError, match="not JSON"):
            load_runs([tmp_path])
        assert gc.isenabled() == enabled


def test_the_error_names_a_damaged_file(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    stored = RecordStore(tmp_path).write(make_record(), STATISTICS)
    statistics = stored.path.with_name("statistics.npz")
    statistics.write_bytes(statistics.read_bytes()[:40])
    with pytest.raises(BenchError, match=r"statistics\.npz: damaged"):
        stored.statistics()
    with pytest.raises(BenchError, match=r"statistics\.npz: not per-text statistics"):
        StoredRun(make_record(), stored.path).statistics()  # an older record, without the digest of the file
    stored.path.write_bytes(stored.path.read_bytes()[:100])
    with pytest.raises(BenchError, match=r"record\.json: not JSON"):
        load_runs([tmp_path])


def test_pickled_statistics_are_an_error(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    stored = RecordStore(tmp_path).write(make_record())
    np.savez(stored.path.with_name("statistics.npz"), PPL=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BenchError, match="allow_pickle"):
        stored.statistics()


WRITER = """
import json, sys
from pathlib import Path
from bench.records.schema import parse_record
from bench.records.store import RecordStore
store = RecordStore(Path(sys.argv[2]))
content = json.loads(Path(sys.argv[1]).read_text())
i = 0
while True:
    content["training"]["steps"] = i
    content["training"]["padding"] = "x" * (i % 7) * 100_000
    store.write(parse_record(json.dumps(content).encode(), "example"))
    if i == 0:
        print("ready", flush=True)
    i += 1
"""


def test_a_record_is_readable_during_a_write_and_after_a_kill(tmp_path: Path) -> None:
    steps = set()
    for attempt in range(4):
        with subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", WRITER, str(HISTORIC), str(tmp_path)], stdout=subprocess.PIPE
        ) as child:
            try:
                assert child.stdout.readline() == b"ready\n"
                deadline = time.monotonic() + 0.1 + 0.013 * attempt
                while time.monotonic() < deadline:
                    load_runs([tmp_path])
            finally:
                child.kill()
        record = load_runs([tmp_path])[0].record
        steps.add(record.training["steps"])
    assert max(map(int, steps)) > 0


LIMITED = """
import json, resource, sys
from pathlib import Path
from bench.errors import BenchError
from bench.records.schema import parse_record
from bench.records.store import RecordStore
content = json.loads(Path(sys.argv[1]).read_text())
content["training"]["padding"] = "x" * 1_000_000
record = parse_record(json.dumps(content).encode(), "example")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    RecordStore(Path(sys.argv[2])).write(record)
except BenchError as error:
    print(error)
    sys.exit(2)
"""


def test_a_full_disk_is_an_error_of_one_line_and_keeps_the_earlier_run(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    """A limit on the size of a file stops a write in the middle, as a full disk does."""
    stored = RecordStore(tmp_path).write(make_record(), STATISTICS)
    before = {path.name: path.read_bytes() for path in stored.path.parent.iterdir()}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LIMITED, str(HISTORIC), str(tmp_path), "100000"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == f"cannot write {stored.path}: File too large\n"
    assert {path.name: path.read_bytes() for path in stored.path.parent.iterdir()} == before


def test_a_failed_write_of_one_file_replaces_no_file(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    """The write of the record fails after that of the statistics: both files are unchanged."""
    stored = RecordStore(tmp_path).write(make_record(), STATISTICS)
    before = {path.name: path.read_bytes() for path in stored.path.parent.iterdir()}
    limit = len(before["statistics.npz"]) + 1
    assert limit < len(before["record.json"])
    too_large = pytest.raises(BenchError, match=r"cannot write .*record\.json: File too large")
    with files_of_at_most(limit), too_large:
        RecordStore(tmp_path).write(make_record(), {"PPL": np.zeros((2, 2)), "KL": np.zeros((2, 1))})
    assert {path.name: path.read_bytes() for path in stored.path.parent.iterdir()} == before


def test_the_error_names_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(BenchError, match=r"cannot write .*record\.json: "):
        atomic_write(tmp_path / "file" / "record.json", b"{}")

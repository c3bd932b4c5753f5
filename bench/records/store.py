"""Storage of records: one folder per run; the record is written last, so an incomplete run has none.

``<task>.<label>.s<seed>.<run_id>/`` contains ``record.json``, ``statistics.npz`` (metric name to per-text sufficient
statistics), ``generations.jsonl`` and ``curve.jsonl``; of a failed run ``failure.txt``, the traceback of its error.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.bootstrap import Array
from bench.errors import BenchError
from bench.escape import file_name
from bench.reading import parse_json, read_bytes, read_lines
from bench.records.schema import Record, parse_record
from bench.storage import atomic_write_all, check_sha256, is_temporary

RECORD, STATISTICS, GENERATIONS, CURVE = "record.json", "statistics.npz", "generations.jsonl", "curve.jsonl"
FAILURE = "failure.txt"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
"""The state of a training that has not ended, and the state before it."""

DAMAGED = ".damaged"
"""Suffix of the name of a damaged checkpoint, which is deleted at the end of its run."""


def checkpoints_in(folder: Path) -> list[Path]:
    """Returns the checkpoints in the folder of a run, damaged ones included."""
    names = (f"{name}{suffix}" for name in (CHECKPOINT, PREVIOUS) for suffix in ("", DAMAGED))
    return [path for name in names if (path := folder / name).is_file()]


def has_checkpoint(folder: Path) -> bool:
    """Returns whether a run can resume from a checkpoint, or from the one before it: neither was found damaged."""
    return any((folder / name).is_file() for name in (CHECKPOINT, PREVIOUS))


MOST_STATISTICS = 2**30
"""Bytes of the largest statistics: a hundred columns of a million texts."""


@dataclass(frozen=True)
class StoredRun:
    """A record and its file."""

    record: Record
    path: Path

    def statistics(self, names: Collection[str] | None = None) -> dict[str, Array]:
        """Returns metric name to per-text statistics (texts x columns) of those that were stored.

        Args:
            names: the metrics to read; all without it.

        Raises:
            BenchError: the file is damaged or has another format.
        """
        path = self.path.with_name(STATISTICS)
        if not path.exists():
            return {}
        self.check(STATISTICS)
        try:
            _check_unpacked(path)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                chosen = (name for name in arrays.files if names is None or name in names)
                return {name: _matrix(arrays[name]) for name in chosen}
        except Exception as error:  # zipfile and numpy raise nearly everything on damaged files
            raise BenchError(f"{path}: not per-text statistics ({error})") from error

    def curve(self) -> list[dict[str, Any]] | None:
        """Returns the rows of the learning curve; None if none was stored.

        Raises:
            BenchError: the file is damaged.
        """
        path = self.path.with_name(CURVE)
        if not path.exists():
            return None
        self.check(CURVE)
        return [parse_json(line, f"{path}, line {number}") for number, line in read_lines(path)]

    def generations(self, most: int) -> list[dict[str, Any]]:
        """Returns the first rows of the file of generations, at most ``most``; none if none was stored.

        Raises:
            BenchError: the file is damaged.
        """
        path = self.path.with_name(GENERATIONS)
        if not path.exists():
            return []
        self.check(GENERATIONS)
        return [parse_json(line, f"{path}, line {number}") for number, line in islice(read_lines(path), most)]

    def check(self, name: str) -> None:
        """Checks that a file beside the record is the one that was written with it, if the record tells.

        Raises:
            BenchError: it is another, or cannot be read.
        """
        if (expected := self.record.files.get(name)) is not None:
            check_sha256(self.path.with_name(name), expected)

    def missing(self) -> list[str]:
        """Returns the names of the files that were written with the record and are not beside it now."""
        return [name for name in self.record.files if not self.path.with_name(name).exists()]


def _check_unpacked(path: Path) -> None:
    """Refuses an archive that would fill the memory."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MOST_STATISTICS:
        raise BenchError(f"larger than {MOST_STATISTICS >> 20} MiB unpacked")


def _matrix(rows: Any) -> Array:
    if not (isinstance(rows, np.ndarray) and rows.dtype == np.float64 and rows.ndim == 2 and rows.size):
        raise BenchError("expected a matrix of float64, a row for each text")
    return rows


@dataclass(frozen=True)
class RecordStore:
    """The runs under one folder."""

    root: Path

    def path(self, spec: Mapping[str, Any], run_id: str) -> Path:
        """Returns the folder of a run, which need not exist."""
        task, label, seed = (
            file_name(str(part)) for part in (spec["task"]["name"], spec["system"]["label"], spec["seed"])
        )
        return self.root / f"{task}.{label}.s{seed}.{run_id}"

    def find(self, run_id: str, folder: Path | None = None) -> StoredRun | None:
        """Returns the run, or None if it is missing or incomplete.

        Args:
            run_id: its identity.
            folder: where it is looked for first; a search takes longer the more runs there are.

        Raises:
            BenchError: its record is unreadable.
        """
        path = self.locate(run_id, folder)
        return _read(path) if path is not None else None

    def locate(self, run_id: str, folder: Path | None = None) -> Path | None:
        """Returns the record of a run without reading it; see ``find``."""
        if folder is not None and (folder / RECORD).is_file():
            return folder / RECORD
        return next(iter(sorted(self.root.glob(f"*.{run_id}/{RECORD}"))), None)

    def with_training(self, training_id: str) -> Iterator[StoredRun]:
        """Yields the runs that were trained in the same way, whatever their labels and scores.

        Raises:
            BenchError: a record is unreadable.
        """
        for path in sorted(self.root.glob(f"*.{training_id[:6]}??????/{RECORD}")):
            if (stored := _read(path)).record.training_id == training_id:
                yield stored

    def write(
        self,
        record: Record,
        statistics: Mapping[str, Array] | None = None,
        generations: Iterable[Mapping[str, Any]] | None = None,
        curve: Iterable[Mapping[str, Any]] | None = None,
        failure: str | None = None,
    ) -> StoredRun:
        """Writes a run, the record last.

        Args:
            record: the record.
            statistics: metric name to per-text statistics (texts x columns).
            generations: one mapping per generated text.
            curve: one mapping per point of the learning curve.
            failure: the traceback of the error that ended the run; that of an earlier attempt is removed.

        Raises:
            BenchError: a file cannot be written; the files of an earlier run are unchanged.
        """
        folder = self.path(record.spec, record.run_id)
        files: dict[str, bytes] = {}
        if statistics is not None:
            files[STATISTICS] = _npz(statistics)
        if generations is not None:
            files[GENERATIONS] = _json_lines(generations)
        if curve is not None:
            files[CURVE] = _json_lines(curve)
        if failure is not None:
            files[FAILURE] = failure.encode(errors="backslashreplace")
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        record = record.model_copy(update={"files": {**record.files, **digests}})
        files[RECORD] = record.to_json()
        atomic_write_all({folder / name: content for name, content in files.items()})
        if failure is None:
            (folder / FAILURE).unlink(missing_ok=True)
        return StoredRun(record, folder / RECORD)


def load_runs(paths: Iterable[Path]) -> list[StoredRun]:
    """Reads record files, and the records in folders at any depth; each file once, in the order of the paths.

    Raises:
        BenchError: a path does not exist, or a file is not a record.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise BenchError(f"{path}: no such record file or folder")
        for file in sorted(path.rglob(RECORD)) if path.is_dir() else [path]:
            if not is_temporary(file.parent.name):
                files.setdefault(file.resolve(), file)
    with _without_collection():
        return [_read(file) for file in files.values()]


@contextmanager
def _without_collection() -> Iterator[None]:
    """Switches the search for reference cycles off: records have none, and it would take half the time of reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(path: Path) -> StoredRun:
    return StoredRun(parse_record(read_bytes(path), str(path)), path)


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    columns: dict[str, Any] = {name: np.asarray(rows, dtype=np.float64) for name, rows in arrays.items()}
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()

"""Replacement of the records of a set by newer ones (``compare --update``); each keeps why, and what it replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import BenchError
from bench.records.compare import is_same_run, key_of
from bench.records.schema import Record, Revision
from bench.records.store import CURVE, FAILURE, GENERATIONS, RECORD, STATISTICS, StoredRun
from bench.storage import remove_abandoned, sync_folder, temporary_path

RECORD_FILES = (STATISTICS, GENERATIONS, CURVE, FAILURE)
"""The files of a run beside its record."""

_ASIDE = ".replaced"
"""End of the name of a folder whose replacement was interrupted; it begins with a dot."""


@dataclass(frozen=True)
class Update:
    """The replacement of one set by another, worked out before anything is written.

    Attributes:
        replaced: old run and its successor.
        added: runs that the old set lacks.
        unchanged: number of runs that are the same in both sets.
        kept: old runs without a successor.
    """

    replaced: Sequence[tuple[StoredRun, StoredRun]]
    added: Sequence[StoredRun]
    unchanged: int
    kept: Sequence[StoredRun]

    @classmethod
    def plan(cls, old: Sequence[StoredRun], new: Sequence[StoredRun], keep_missing: bool = False) -> Update:
        """Finds the successor of each old run.

        A finished run has a successor only in a finished run.

        Args:
            old: the set to replace.
            new: the runs that replace it.
            keep_missing: whether an old run without a successor stays as it is.

        Raises:
            BenchError: an old run has no successor, or a record is not in a folder of its own.
        """
        for run in old:
            if run.path.name != RECORD:
                raise BenchError(f"{run.path}: only a {RECORD} in the folder of its run can be replaced.")
        successors = {key_of(run.record): run for run in new}
        replaced, kept, unchanged = [], [], 0
        for run in old:
            successor = successors.get(key_of(run.record))
            lost = run.record.status == "finished" and successor is not None and successor.record.status != "finished"
            if successor is None or lost:
                kept.append(run)
            elif is_same_run(run, successor) and run.record.measurement() == successor.record.measurement():
                unchanged += 1
            else:
                replaced.append((run, successor))
        if kept and not keep_missing:
            task, label, scale, seed = key_of(kept[0].record)
            more = f", nor {len(kept) - 1} other runs" if len(kept) > 1 else ""
            raise BenchError(
                f"nothing replaced: the second set has no finished {task} {label} {scale} seed {seed}{more};"
                " --allow missing keeps the old records."
            )
        known = {key_of(run.record) for run in old}
        return cls(replaced, [run for run in new if key_of(run.record) not in known], unchanged, kept)

    def carry_out(self, root: Path, reason: str) -> None:
        """Writes the successors, run by run.

        Args:
            root: folder for the runs that are added.
            reason: kept in the history of each record that is replaced.

        Raises:
            BenchError: the reason is blank, or a file cannot be read or written; the run at hand is then the old one.
        """
        if not reason.strip():
            raise BenchError("--reason: say why the records are replaced.")
        for old, new in self.replaced:
            history = (*old.record.history, _revision(old.record, new.record, reason))
            record = new.record.model_copy(update={"history": history})
            folder = old.path.parent.resolve()  # which has a name, also if it is the current one
            others = (path.name for path in folder.iterdir() if path.is_file() and path.name != RECORD)
            name = folder.name.removesuffix(_ASIDE).lstrip(".") if folder.name.endswith(_ASIDE) else folder.name
            target = folder.with_name(name.replace(old.record.run_id, new.record.run_id))
            _write_run(record, new, [*RECORD_FILES, *others], target, folder)
        for new in self.added:
            _write_run(new.record, new, RECORD_FILES, root / new.path.parent.name)

    def __str__(self) -> str:
        return (
            f"records: {len(self.replaced)} replaced, {len(self.added)} added, {self.unchanged} unchanged,"
            f" {len(self.kept)} kept without a successor"
        )


def _revision(old: Record, new: Record, reason: str) -> Revision:
    before, after = ({score.name: score.value for score in record.metrics} for record in (old, new))
    names = dict.fromkeys([*before, *after])
    return Revision(
        date=datetime.now(UTC),
        reason=reason.strip(),
        run_id=old.run_id,
        created=old.created,
        suite_version=old.suite_version,
        commit=old.commit,
        moved={name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)},
    )


def _write_run(record: Record, source: StoredRun, files: Iterable[str], target: Path, old: Path | None = None) -> None:
    """Puts a run in the place of an old one, so that a reader finds the one or the other, never a mixture.

    Everything is written to a hidden folder beside the target first, which readers skip. The old folder is renamed
    before the new one takes its place, and removed after that; if anything fails, it gets its name back.

    Args:
        record: the record to write.
        source: run that has the other files.
        files: their names; those that the source lacks are left out.
        target: folder of the run; must not exist, unless it is the old one.
        old: folder of the run that is replaced.

    Raises:
        BenchError: a file cannot be read or written, or is not the one that was written with the record.
    """
    if target.exists() and target != old:
        raise BenchError(f"{target}: exists already, and is not the run that is replaced.")
    staged, aside = temporary_path(target), target.with_name(f".{target.name}{_ASIDE}")
    remove_abandoned(target.parent)
    try:
        staged.mkdir(parents=True)
        for name in dict.fromkeys(files):
            if (path := source.path.with_name(name)).exists():
                source.check(name)
                shutil.copyfile(path, staged / name)
        (staged / RECORD).write_bytes(record.to_json())
        for path in staged.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if old is not None:
            old.rename(aside)
        try:
            staged.rename(target)
        except OSError:
            if old is not None:
                aside.rename(old)
            raise
        sync_folder(target.parent)
        if old is not None:
            aside.rename(staged)  # hidden, so that a removal that is interrupted leaves no half a run
    except OSError as error:
        raise BenchError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)

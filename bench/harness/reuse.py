"""What there is of a run already: its record, some of its scores, or weights that were trained in the same way."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.harness.checkpoint import delete_checkpoints
from bench.harness.code import Code, changed_code, check_code
from bench.harness.model_folder import ModelFolder, check_run, share_model
from bench.harness.phases import OnPhase
from bench.harness.recording import Recording, model_facts
from bench.harness.rescore import kept_model, score_recorded
from bench.metrics.encoders import is_installed_now
from bench.records.schema import Record, Status
from bench.records.store import StoredRun
from bench.specs import METRIC

logger = logging.getLogger(__name__)


def complete(recording: Recording, any_code: bool = False, retry: Collection[Status] = ()) -> Record | None:
    """Returns the record of a run if nothing is left to do; only this record is read, and nothing is written.

    Args:
        recording: the run.
        any_code: whether a record of other code counts.
        retry: statuses of records that do not count. A failed record of other code never counts, unless ``any_code``.

    Raises:
        BenchError: the record is one of other code, or is damaged.
    """
    stored = recording.stored()
    return _State.of(recording, stored, any_code, retry).complete() if stored is not None else None


def recorded(
    recording: Recording,
    on_phase: OnPhase,
    any_code: bool = False,
    model: ModelFolder | None = None,
    retry: Collection[Status] = (),
) -> Record | None:
    """Returns the record of a run without training it, if that is possible.

    A complete record is returned as it is. Metrics that are new, of a new version, or were skipped for want of a
    package that is installed now, are computed and added to it. If a module that only scores has changed, the run is
    scored again. The weights of a run that differs only in how it is scored are scored for this run.

    Args:
        recording: the run.
        on_phase: receives the progress.
        any_code: whether records of other code count.
        model: the trained model, for a run that only scores.
        retry: see ``complete``.

    Returns:
        None if the run must be trained.

    Raises:
        BenchError: the record is one of other code, or a file is damaged.
    """
    prepared = recording.prepared
    title = prepared.spec.title
    if (stored := recording.stored()) is not None:
        state = _State.of(recording, stored, any_code, retry)
        if state.again:
            if state.moved:  # the checkpoint of a failed run is of other code, too
                delete_checkpoints(recording.folder)
            return None
        return state.complete() or _completed(recording, state, on_phase, model)
    for other in recording.store.with_training(recording.identities.training):
        if other.record.status == "finished" and (kept := kept_model(other)) is not None:
            if not any_code:
                check_code(f"{title}: trained", _recorded_code(recording, other).training, prepared.code.training)
            share_model(kept.path, recording.folder)
            logger.info("%s: scores the weights of %s", title, kept.path)
            return _scored(recording, other, kept, on_phase)
    return None


@dataclass(frozen=True)
class _State:
    """What a record lacks.

    Attributes:
        stored: the record.
        again: whether the run is run again as if there were none.
        moved: modules that have changed: those that score, of a failed run all.
        missing: names of the metrics that are new or of a new version.
    """

    stored: StoredRun
    again: bool = False
    moved: Sequence[str] = ()
    missing: Sequence[str] = ()

    @classmethod
    def of(cls, recording: Recording, stored: StoredRun, any_code: bool, retry: Collection[Status]) -> _State:
        """Compares a record with the run.

        Raises:
            BenchError: the record is one of other code.
        """
        record, prepared = stored.record, recording.prepared
        old, new = _recorded_code(recording, stored), prepared.code
        both = old.scoring.keys() & new.scoring.keys()
        moved = () if any_code else changed_code(*({name: code[name] for name in both} for code in (old[1], new[1])))
        if record.status == "failed":
            moved = () if any_code else [*moved, *changed_code(old.training, new.training)]
            return cls(stored, again=bool(moved) or "failed" in retry, moved=moved)
        if record.status in retry:
            return cls(stored, again=True)
        if not any_code:
            check_code(f"{prepared.spec.title}: recorded", old.training, new.training)
            check_run(stored)
        if record.status != "finished":
            return cls(stored)
        missing = [
            name.removeprefix(METRIC)
            for name, version in prepared.components.items()
            if name.startswith(METRIC) and record.components.get(name) != version
        ]
        missing += [
            skipped.metric
            for skipped in record.skipped
            if skipped.metric not in missing and is_installed_now(skipped.reason)
        ]
        return cls(stored, moved=moved, missing=missing)

    def complete(self) -> Record | None:
        return None if self.again or self.moved or self.missing else self.stored.record


def _completed(recording: Recording, state: _State, on_phase: OnPhase, model: ModelFolder | None) -> Record:
    """Returns the stored record, after computing the scores that it lacks."""
    stored, prepared = state.stored, recording.prepared
    kept = model or kept_model(stored)
    if state.moved:
        title = prepared.spec.title
        if kept is not None:
            logger.info("%s: scored again, since %s changed", title, ", ".join(state.moved))
            return _scored(recording, stored, kept, on_phase)
        check_code(f"{title}: recorded", _recorded_code(recording, stored).scoring, prepared.code.scoring)
    if not state.missing:
        return stored.record
    device, check = recording.device, recording.check
    return score_recorded(stored, prepared.data, kept, state.missing, on_phase, device, check)


def _scored(recording: Recording, stored: StoredRun, model: ModelFolder, on_phase: OnPhase) -> Record:
    """Scores the weights of a recorded run."""
    record, curve = stored.record, stored.curve()
    recording.stopwatch.timings += [timing for timing in record.timings if timing.phase == "train"]
    system = model.load().to(recording.device)
    return recording.score(system, model_facts(system, model.weights_sha256), on_phase, record.training, curve).record


def _recorded_code(recording: Recording, stored: StoredRun) -> Code:
    """Returns the code of a record; older records hold it in one piece."""
    record, scoring = stored.record, recording.prepared.code.scoring
    if record.scoring_code:
        return Code(record.code, record.scoring_code)
    return Code(
        {name: digest for name, digest in record.code.items() if name not in scoring},
        {name: digest for name, digest in record.code.items() if name in scoring},
    )

"""What there is of a run already: its record, some of its scores, or weights that were trained in the same way."""

from __future__ import annotations

import logging

from bench.harness.code import Code, changed_code, check_code
from bench.harness.model_folder import ModelFolder, share_model
from bench.harness.phases import OnPhase
from bench.harness.recording import Recording, model_facts
from bench.harness.rescore import kept_model, score_recorded
from bench.records.schema import Record
from bench.records.store import CURVE, StoredRun
from bench.specs import METRIC
from bench.storage import atomic_write

logger = logging.getLogger(__name__)


def recorded(
    recording: Recording, on_phase: OnPhase, any_code: bool = False, model: ModelFolder | None = None
) -> Record | None:
    """Returns the record of a run without training it, if that is possible.

    A complete record is returned as it is. Metrics that are new or of a new version are computed and added to it. If a
    module that only scores has changed, the run is scored again. The weights of a run that differs only in how it is
    scored are scored for this run.

    Args:
        recording: the run.
        on_phase: receives the progress.
        any_code: whether records of other code count.
        model: the trained model, for a run that only scores.

    Returns:
        None if the run must be trained.

    Raises:
        BenchError: the record is one of other code, or a file is damaged.
    """
    prepared, identities = recording.prepared, recording.identities
    title = prepared.spec.title
    if (stored := recording.store.find(identities.run)) is not None:
        return _completed(recording, stored, on_phase, any_code, model)
    for other in recording.store.with_training(identities.training):
        if other.record.status == "finished" and (kept := kept_model(other)) is not None:
            if not any_code:
                check_code(f"{title}: trained", _recorded_code(recording, other).training, prepared.code.training)
            share_model(kept.path, recording.folder)
            if (curve := other.path.with_name(CURVE)).exists():
                atomic_write(recording.folder / CURVE, curve.read_bytes())
            logger.info("%s: scores the weights of %s", title, kept.path)
            return _scored(recording, other.record, kept, on_phase)
    return None


def _completed(
    recording: Recording, stored: StoredRun, on_phase: OnPhase, any_code: bool, model: ModelFolder | None
) -> Record:
    """Returns the stored record, after computing the scores that it lacks."""
    record, prepared = stored.record, recording.prepared
    old, new = _recorded_code(recording, stored), prepared.code
    what = f"{prepared.spec.title}: recorded"
    if not any_code:
        check_code(what, old.training, new.training)
    if record.status != "finished":
        return record
    kept = model or kept_model(stored)
    both = old.scoring.keys() & new.scoring.keys()
    moved = changed_code(*({name: code[name] for name in both} for code in (old.scoring, new.scoring)))
    if moved and not any_code:
        if kept is not None:
            logger.info("%s: scored again, since %s changed", prepared.spec.title, ", ".join(moved))
            return _scored(recording, record, kept, on_phase)
        check_code(what, old.scoring, new.scoring)
    missing = [
        name.removeprefix(METRIC)
        for name, version in prepared.components.items()
        if name.startswith(METRIC) and record.components.get(name) != version
    ]
    return score_recorded(stored, prepared.data, kept, missing, on_phase, recording.device) if missing else record


def _scored(recording: Recording, record: Record, model: ModelFolder, on_phase: OnPhase) -> Record:
    """Scores the weights of a recorded run."""
    recording.stopwatch.timings += [timing for timing in record.timings if timing.phase == "train"]
    system = model.load().to(recording.device)
    return recording.score(system, model_facts(system, model.digest()), on_phase, record.training).record


def _recorded_code(recording: Recording, stored: StoredRun) -> Code:
    """Returns the code of a record; older records hold it in one piece."""
    record, scoring = stored.record, recording.prepared.code.scoring
    if record.scoring_code:
        return Code(record.code, record.scoring_code)
    return Code(
        {name: digest for name, digest in record.code.items() if name not in scoring},
        {name: digest for name, digest in record.code.items() if name in scoring},
    )

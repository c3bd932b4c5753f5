"""One run, from its spec to its record."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError, error_line
from bench.harness.lock import Lock, acquire
from bench.harness.model_folder import ModelFolder, save_model
from bench.harness.phases import OnPhase
from bench.harness.prepare import prepare
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.recording import Recording, model_facts
from bench.harness.reuse import complete, recorded
from bench.harness.scoring import score_texts
from bench.harness.train import Trainer, gradient_flow
from bench.interface import System
from bench.objectives import build_stages, unsupported_reason
from bench.records.schema import SPEED, Record, Scalar, Status
from bench.records.store import StoredRun
from bench.seeds import named_seeds
from bench.specs import RunSpec, TrainingSpec
from bench.systems import SYSTEMS

logger = logging.getLogger(__name__)


def run(
    spec: RunSpec,
    out: Path,
    data_folder: Path | None = None,
    on_phase: OnPhase = lambda phase, fraction: None,
    device: str | None = None,
    reuse: bool | None = None,
    processes: ProcessGroup = ALONE,
    retry: Collection[Status] = (),
) -> Record:
    """Trains, scores and records one run, or does what is missing of it (see `bench.harness.reuse`).

    A run that was killed resumes from its last checkpoint in the same folder. An error that is not a ``BenchError`` is
    raised, and recorded too: the next call returns the failed record.

    Args:
        spec: the resolved spec.
        out: folder of the records.
        data_folder: parent of the task's folder; needed when the spec's source is ``files``.
        on_phase: receives the progress.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        reuse: whether a record or checkpoint is used: by default only one of the present code, which else is an error;
            True for one of any code, False for none.
        processes: that train and score the run together; this one leads, the others call ``assist``.
        retry: statuses of records that do not count: such a run is run again.

    Raises:
        LockedError: another process works on the run, or on one with the same weights.
        BenchError: bad data, a spec without training, or a record or checkpoint of other code.
    """
    if spec.training is None:
        raise BenchError(f"{spec.title}: spec.training is None; only a trained model can be scored without training.")
    recording = Recording.begin(spec, out, data_folder, device)
    if reuse is not False and (record := complete(recording, bool(reuse), retry)) is not None:
        return record
    with acquire(recording.lock, recording.folder.name) as lock:
        recording = replace(recording, check=lock.check)
        try:
            on_phase = _reported(on_phase, lock)
            if reuse is not False and (record := recorded(recording, on_phase, bool(reuse), retry=retry)) is not None:
                return record
            return _train_and_score(recording, spec.training, data_folder, on_phase, reuse, processes)
        except BenchError:
            raise
        except Exception as error:
            with suppress(BenchError):  # such as a full disk: the first error is the one to tell
                recording.fail(error_line(error), traceback.format_exc())
            raise


def _reported(on_phase: OnPhase, lock: Lock) -> OnPhase:
    """Returns a callback that also tells the lock how far the run is."""

    def both(phase: str, fraction: float) -> None:
        lock.report(phase, fraction)
        on_phase(phase, fraction)

    return both


def _train_and_score(
    recording: Recording,
    training: TrainingSpec,
    data_folder: Path | None,
    on_phase: OnPhase,
    reuse: bool | None,
    processes: ProcessGroup,
) -> Record:
    """Trains, scores and records a run that this process has locked."""
    prepared, spec = recording.prepared, recording.prepared.spec
    if (reason := SYSTEMS.get(spec.system.name).supports(spec)) is not None:
        return recording.write("skipped", reason).record
    with recording.stopwatch.phase("data"):
        texts = prepared.texts
    system = prepared.system().to(recording.device)
    _warn_of_frozen_weights(system, spec)
    recording.folder.mkdir(parents=True, exist_ok=True)
    if not any(parameter.requires_grad for parameter in system.parameters()):
        return _save_and_score(recording, system, on_phase, {"steps": 0, "epochs": 0}).record
    stages = build_stages(spec.objective, training.epochs)
    if (reason := unsupported_reason(stages, gradient_flow(system, texts["train"]))) is not None:
        return recording.write("skipped", reason).record
    with recording.stopwatch.phase("train"):
        trainer, notes = _train(recording, system, training, data_folder, on_phase, reuse, processes)
    system, progress = trainer.system, trainer.progress
    summary: dict[str, Scalar] = {
        "steps": progress.step,
        "epochs": len(progress.curve),
        "best_epoch": progress.best_epoch,
        SPEED: progress.tokens / max(progress.seconds, 1e-9),
        **notes,
    }
    if progress.diverged:
        model = model_facts(system, None)
        stored = recording.write("diverged", progress.diverged, model=model, training=summary, curve=progress.curve)
    else:
        stored = _save_and_score(recording, system, on_phase, summary, progress.curve, processes)
    trainer.checkpoint.delete()
    return stored.record


def _save_and_score(
    recording: Recording,
    system: System,
    on_phase: OnPhase,
    training: Mapping[str, Scalar],
    curve: Sequence[Mapping[str, Any]] | None = None,
    processes: ProcessGroup = ALONE,
) -> StoredRun:
    """Writes the model of a run, and scores it."""
    recording.check()
    recording.forget()
    weights = save_model(recording.folder, recording.prepared.spec.model, recording.prepared.tokenizer, system)
    return recording.score(system, model_facts(system, weights), on_phase, training, curve, processes)


def _train(
    recording: Recording,
    system: System,
    training: TrainingSpec,
    data_folder: Path | None,
    on_phase: OnPhase,
    reuse: bool | None,
    processes: ProcessGroup,
) -> tuple[Trainer, dict[str, Scalar]]:
    """Trains a system; if the memory is too small, once more in micro-batches of half the size.

    Returns:
        The trainer with its trained system, and the size of the micro-batches for the record if it is not that of the
        spec.
    """
    prepared, seeds = recording.prepared, named_seeds(recording.prepared.spec.seed)

    def trainer_of(system: System, training: TrainingSpec) -> Trainer:
        stages, code = build_stages(prepared.spec.objective, training.epochs), prepared.code.training
        folder, check = recording.folder, recording.check
        return Trainer(system, prepared.texts, stages, training, seeds, folder, on_phase, code, processes, check)

    trainer = trainer_of(system, training)
    if reuse is False:
        trainer.checkpoint.delete()
    elif not reuse:
        trainer.checkpoint.check_code()
    begins = "its checkpoint" if trainer.checkpoint.exists() else "the start"
    logger.info("%s: trains from %s", prepared.spec.title, begins)
    processes.broadcast((prepared.spec, data_folder, recording.folder))
    try:
        with processes.together():
            trainer.run()
        return trainer, {}
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    # Not inside the handler: the traceback holds the memory of the step.
    del trainer
    half = max(1, (training.micro_batch_tokens or training.batch_tokens) // 2)
    logger.warning("%s: out of memory; goes on with micro-batches of %d tokens", prepared.spec.title, half)
    trainer = trainer_of(
        prepared.system().to(recording.device), training.model_copy(update={"micro_batch_tokens": half})
    )
    trainer.run()
    return trainer, {"micro_batch_tokens": half}


def _is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error is one of memory; the allocator of the CPU raises a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def assist(processes: ProcessGroup) -> None:
    """Trains and scores, as another process of the group, what its leader runs, until the leader broadcasts None."""
    while (order := processes.broadcast(None)) is not None:
        spec, data_folder, folder = order
        prepared, seeds = prepare(spec, data_folder), named_seeds(spec.seed)
        system = prepared.system().to(processes.device)
        stages = build_stages(spec.objective, spec.training.epochs)
        trainer = Trainer(
            system, prepared.texts, stages, spec.training, seeds, folder, lambda phase, fraction: None, {}, processes
        )
        if not trainer.run().diverged:
            test = prepared.texts["test"]
            score_texts(system, test, spec.scoring, spec.precision, seeds["latent"], processes=processes)


def score_model(
    model: ModelFolder,
    spec: RunSpec,
    out: Path,
    data_folder: Path | None = None,
    on_phase: OnPhase = lambda phase, fraction: None,
    device: str | None = None,
    reuse: bool | None = None,
) -> Record:
    """Scores and records a trained model in the way of a run, or returns the record if there is one.

    The spec says how the model is scored (see ``plan.evaluation_spec``); the other arguments are those of ``run``.

    Raises:
        LockedError: another process scores the model.
        BenchError: bad data, a damaged model, or a record of other code.
    """
    recording = Recording.begin(spec, out, data_folder, device, model)
    if reuse is not False and (record := complete(recording, bool(reuse))) is not None:
        return record
    with acquire(recording.lock, recording.folder.name) as lock:
        recording, on_phase = replace(recording, check=lock.check), _reported(on_phase, lock)
        if reuse is not False and (record := recorded(recording, on_phase, bool(reuse), model)) is not None:
            return record
        system = model.load().to(recording.device)
        return recording.score(system, model_facts(system, model.weights_sha256), on_phase).record


def _warn_of_frozen_weights(system: System, spec: RunSpec) -> None:
    """Warns if weights of random values are never trained."""
    frozen = sum(parameter.numel() for parameter in system.parameters() if not parameter.requires_grad)
    if frozen and spec.backbone.source == "scratch":
        logger.warning(
            "%s: %d parameters are frozen and, with a backbone from scratch, stay random",
            spec.title,
            frozen,
        )

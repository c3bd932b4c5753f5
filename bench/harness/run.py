"""One run, from its spec to its record."""

from __future__ import annotations

import logging
from pathlib import Path

from bench.errors import BenchError
from bench.harness.model_folder import ModelFolder, save_description
from bench.harness.phases import OnPhase
from bench.harness.prepare import prepare
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.recording import Recording, model_facts
from bench.harness.reuse import recorded
from bench.harness.scoring import score_texts
from bench.harness.train import Trainer, gradient_flow
from bench.interface import System
from bench.objectives import build_stages, unsupported_reason
from bench.records.schema import SPEED, Record, Scalar
from bench.seeds import named_seeds
from bench.specs import RunSpec
from bench.storage import file_sha256
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
) -> Record:
    """Trains, scores and records one run, or does what is missing of it (see `bench.harness.reuse`).

    A run that was killed resumes from its last checkpoint in the same folder.

    Args:
        spec: the resolved spec.
        out: folder of the records.
        data_folder: parent of the task's folder; needed when the spec's source is ``files``.
        on_phase: receives the progress.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        reuse: whether a record or checkpoint is used: by default only one of the present code, which else is an error;
            True for one of any code, False for none.
        processes: that train and score the run together; this one leads, the others call ``assist``.

    Raises:
        BenchError: bad data, a spec without training, or a record or checkpoint of other code.
    """
    if spec.training is None:
        raise BenchError(f"{spec.title}: spec.training is None; only a trained model can be scored without training.")
    recording = Recording.begin(spec, out, data_folder, device)
    if reuse is not False and (record := recorded(recording, on_phase, bool(reuse))) is not None:
        return record
    if (reason := SYSTEMS.get(spec.system.name).supports(spec)) is not None:
        return recording.write("skipped", reason).record
    prepared, seeds = recording.prepared, named_seeds(spec.seed)
    system = prepared.system(seeds["init"]).to(recording.device)
    _warn_of_frozen_weights(system, spec)
    stages = build_stages(spec.objective, spec.training.epochs)
    if (reason := unsupported_reason(stages, gradient_flow(system, prepared.texts["train"]))) is not None:
        return recording.write("skipped", reason).record
    folder = recording.folder
    folder.mkdir(parents=True, exist_ok=True)
    save_description(folder, spec.model, prepared.tokenizer)
    with recording.stopwatch.phase("train"):
        code = prepared.code.training
        trainer = Trainer(system, prepared.texts, stages, spec.training, seeds, folder, on_phase, code, processes)
        if reuse is False:
            trainer.checkpoint.delete()
        elif not reuse:
            trainer.checkpoint.check_code()
        processes.broadcast((spec, data_folder, folder))
        with processes.together():
            progress = trainer.run()
    training: dict[str, Scalar] = {
        "steps": progress.step,
        "epochs": len(progress.curve),
        "best_epoch": progress.best_epoch,
        SPEED: progress.tokens / max(progress.seconds, 1e-9),
    }
    if progress.diverged:
        reason = f"the loss was not finite by step {progress.step}"
        model = model_facts(system, None)
        stored = recording.write("diverged", reason, model=model, training=training, curve=progress.curve)
    else:
        model = model_facts(system, file_sha256(trainer.best_weights))
        stored = recording.score(system, model, on_phase, training, progress.curve, processes)
    trainer.checkpoint.delete()
    return stored.record


def assist(processes: ProcessGroup) -> None:
    """Trains and scores, as another process of the group, what its leader runs, until the leader broadcasts None."""
    while (order := processes.broadcast(None)) is not None:
        spec, data_folder, folder = order
        prepared, seeds = prepare(spec, data_folder), named_seeds(spec.seed)
        system = prepared.system(seeds["init"]).to(processes.device)
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
        BenchError: bad data, a damaged model, or a record of other code.
    """
    recording = Recording.begin(spec, out, data_folder, device, model)
    if reuse is not False and (record := recorded(recording, on_phase, bool(reuse), model)) is not None:
        return record
    system = model.load().to(recording.device)
    return recording.score(system, model_facts(system, model.digest()), on_phase).record


def _warn_of_frozen_weights(system: System, spec: RunSpec) -> None:
    """Warns if weights of random values are never trained."""
    frozen = sum(parameter.numel() for parameter in system.parameters() if not parameter.requires_grad)
    if frozen and spec.backbone.source == "scratch":
        logger.warning(
            "%s: %d parameters are frozen and, with a backbone from scratch, stay random",
            spec.title,
            frozen,
        )

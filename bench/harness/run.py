"""One run, from its spec to its record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import bench
from bench.errors import BenchError
from bench.harness.apply_metrics import Measurement, apply_metrics, bootstrap_of, generation_rows, text_set
from bench.harness.code import check_code
from bench.harness.generate import generate_texts
from bench.harness.model_folder import ModelFolder, save_description
from bench.harness.phases import OnPhase
from bench.harness.precision import uses_bf16
from bench.harness.prepare import Prepared, prepare
from bench.harness.provenance import Stopwatch, commit, environment, peak_memory
from bench.harness.scoring import score_texts
from bench.harness.train import Trainer, gradient_flow
from bench.interface import System
from bench.objectives import build_stages, unsupported_reason
from bench.records.schema import SPEED, ModelFacts, Record, Scalar, Status
from bench.records.store import RecordStore, StoredRun
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
) -> Record:
    """Trains, scores and records one run, or returns its record if there is one.

    A run that was killed resumes from its last checkpoint in the same folder.

    Args:
        spec: the resolved spec.
        out: folder of the records.
        data_folder: parent of the task's folder; needed when the spec's source is ``files``.
        on_phase: receives the progress.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        reuse: whether a record or checkpoint is used: by default only one of the present code, which else is an error;
            True for one of any code, False for none.

    Raises:
        BenchError: bad data, a spec without training, or a record or checkpoint of other code.
    """
    if spec.training is None:
        raise BenchError(f"{spec.title}: spec.training is None; only a trained model can be scored without training.")
    recording = _Recording.begin(spec, out, data_folder, device, reuse)
    if isinstance(recording, Record):
        return recording
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
        trainer = Trainer(system, prepared.texts, stages, spec.training, seeds, folder, on_phase, prepared.code)
        if reuse is False:
            trainer.checkpoint.delete()
        elif not reuse:
            trainer.checkpoint.check_code()
        progress = trainer.run()
    training: dict[str, Scalar] = {
        "steps": progress.step,
        "epochs": len(progress.curve),
        "best_epoch": progress.best_epoch,
        SPEED: progress.tokens / max(progress.seconds, 1e-9),
    }
    if progress.diverged:
        reason = f"the loss was not finite by step {progress.step}"
        model = _model_facts(system, None)
        stored = recording.write("diverged", reason, model=model, training=training, curve=progress.curve)
    else:
        model = _model_facts(system, file_sha256(trainer.best_weights))
        stored = recording.score(system, model, on_phase, training, progress.curve)
    trainer.checkpoint.delete()
    return stored.record


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
    recording = _Recording.begin(spec, out, data_folder, device, reuse, model)
    if isinstance(recording, Record):
        return recording
    system = model.load().to(recording.device)
    return recording.score(system, _model_facts(system, model.digest()), on_phase).record


@dataclass(frozen=True)
class _Recording:
    """A run on its way to its record.

    Attributes:
        prepared: the run.
        store: receives the record.
        device: of the run.
        stopwatch: seconds by phase.
    """

    prepared: Prepared
    store: RecordStore
    device: torch.device
    stopwatch: Stopwatch

    @classmethod
    def begin(
        cls,
        spec: RunSpec,
        out: Path,
        data_folder: Path | None,
        device: str | None,
        reuse: bool | None,
        model: ModelFolder | None = None,
    ) -> _Recording | Record:
        """Prepares a run; returns its record if there is one to reuse."""
        stopwatch, store = Stopwatch(), RecordStore(out)
        with stopwatch.phase("data"):
            prepared = prepare(spec, data_folder, model)
        if reuse is not False and (stored := store.find(prepared.run_id)) is not None:
            if not reuse:
                check_code(f"{spec.title}: recorded", stored.record.code, prepared.code)
            return stored.record
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(prepared, store, torch.device(name), stopwatch)

    @property
    def spec_as_json(self) -> dict[str, Any]:
        """The spec as it is recorded."""
        return self.prepared.spec.model_dump(mode="json")

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.store.path(self.spec_as_json, self.prepared.run_id)

    def score(
        self,
        system: System,
        model: ModelFacts,
        on_phase: OnPhase,
        training: Mapping[str, Scalar] | None = None,
        curve: Sequence[Mapping[str, Any]] | None = None,
    ) -> StoredRun:
        """Scores a trained system, applies all metrics and writes the record."""
        data, spec, seeds = self.prepared.data, self.prepared.spec, named_seeds(self.prepared.spec.seed)
        test, per_source = self.prepared.texts["test"], spec.decoding.samples_per_source
        with self.stopwatch.phase("score"):
            terms = score_texts(system, test, spec.scoring, spec.precision, seeds["latent"], on_phase)
        if (bad := terms.n_not_finite) > 0:
            reason = f"{bad} of {len(terms)} test texts have terms that are not finite"
            return self.write("diverged", reason, model=model, training=training, curve=curve)
        with self.stopwatch.phase("generate"):
            texts = generate_texts(system, spec.scoring.n_generations, test, spec.decoding, seeds["sampling"], on_phase)
        with self.stopwatch.phase("metrics"):
            bootstrap = bootstrap_of(spec.scoring, seeds["bootstrap"])
            measurement = apply_metrics(terms, text_set(texts, data, per_source), data, bootstrap)
        return self.write(
            "finished",
            model=model,
            training=training,
            measurement=measurement,
            generations=generation_rows(texts, data, per_source),
            curve=curve,
        )

    def write(
        self,
        status: Status,
        reason: str | None = None,
        *,
        model: ModelFacts | None = None,
        training: Mapping[str, Scalar] | None = None,
        measurement: Measurement | None = None,
        generations: Sequence[Mapping[str, str]] | None = None,
        curve: Sequence[Mapping[str, Any]] | None = None,
    ) -> StoredRun:
        """Writes the record; a run that was not trained has no timings."""
        spec, prepared = self.prepared.spec, self.prepared
        revision = commit()
        record = Record(
            run_id=prepared.run_id,
            created=datetime.now(UTC),
            suite_version=bench.__version__,
            commit=revision.sha,
            dirty=revision.dirty,
            status=status,
            reason=reason,
            spec=self.spec_as_json,
            components=dict(prepared.components),
            code=dict(prepared.code),
            seeds=dict(named_seeds(spec.seed)),
            data=prepared.data_facts(),
            model=model,
            metrics=tuple(measurement.scores) if measurement else (),
            skipped=tuple(measurement.skipped) if measurement else (),
            training=dict(training or {}),
            timings=() if status == "skipped" else tuple(self.stopwatch.timings),
            peak_memory_bytes=peak_memory(self.device) if measurement else None,
            environment=environment(self.device, "bf16" if uses_bf16(spec.precision, self.device) else "fp32"),
        )
        statistics = measurement.statistics if measurement else None
        return self.store.write(record, statistics, generations, curve)


def _warn_of_frozen_weights(system: System, spec: RunSpec) -> None:
    """Warns if weights of random values are never trained."""
    frozen = sum(parameter.numel() for parameter in system.parameters() if not parameter.requires_grad)
    if frozen and spec.backbone.source == "scratch":
        logger.warning(
            "%s: %d parameters are frozen and, with a backbone from scratch, stay random",
            spec.title,
            frozen,
        )


def _model_facts(system: System, weights_sha256: str | None) -> ModelFacts:
    return ModelFacts(
        parameters=sum(parameter.numel() for parameter in system.parameters()),
        trainable_parameters=sum(parameter.numel() for parameter in system.parameters() if parameter.requires_grad),
        weights_sha256=weights_sha256,
        vocabulary_size=len(system.tokenizer),
        details={"latent_groups": len(system.groups), "latent_dimensions": sum(system.groups)},
    )

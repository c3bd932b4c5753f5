"""One run, from its spec to its record: the only place where data, system, objective and metrics meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import bench
from bench.errors import BenchError
from bench.harness import provenance, train
from bench.harness.apply_metrics import beside_sources, bootstrap_of, measure, text_set
from bench.harness.generate import generate_texts
from bench.harness.model_folder import ModelFolder, save_description
from bench.harness.phases import OnPhase
from bench.harness.precision import uses_bf16
from bench.harness.prepare import Prepared, prepare
from bench.harness.scoring import score_texts
from bench.interface import System
from bench.objectives import build_stages, unsupported_reason
from bench.records.schema import SPEED, ModelFacts, Record
from bench.records.store import RecordStore, StoredRun
from bench.seeds import named_seeds
from bench.specs import RunSpec
from bench.storage import file_sha256
from bench.systems import SYSTEMS


def run(
    spec: RunSpec,
    out: Path,
    data_folder: Path | None = None,
    on_phase: OnPhase = lambda phase, fraction: None,
    device: str | None = None,
) -> Record:
    """Trains, scores and records one run, or returns the record that is already there.

    A run that was killed resumes from its last checkpoint in the same folder.

    Args:
        spec: the resolved spec.
        out: folder of the records.
        data_folder: holds the task's folder; needed when the spec's source is ``files``.
        on_phase: told of progress.
        device: ``cpu`` or ``cuda``; the GPU if there is one.

    Raises:
        BenchError: bad data, or a spec that does not fit it or says nothing of training.
    """
    if spec.training is None:
        raise BenchError(f"{spec.title}: spec.training is None, which is for a model that is trained already.")
    place = _device(device)
    watch, store = provenance.Stopwatch(), RecordStore(out)
    with watch.phase("data"):
        prepared = prepare(spec, data_folder)
    if (found := store.find(prepared.run_id)) is not None:
        return found.record
    facts = _facts(prepared, place)
    if (reason := SYSTEMS.get(spec.system.name).supports(spec)) is not None:
        return _skipped(reason, facts, store)

    seeds = named_seeds(spec.seed)
    system = prepared.system(seeds["init"]).to(place)
    folder = store.path(facts["spec"], prepared.run_id)
    stages = build_stages(spec.objective, spec.training.epochs)
    if (reason := unsupported_reason(stages, train.gradient_flow(system, prepared.texts["train"]))) is not None:
        return _skipped(reason, facts, store)
    folder.mkdir(parents=True, exist_ok=True)
    save_description(folder, spec.model, prepared.tokenizer)
    with watch.phase("train"):
        trainer = train.Trainer(system, prepared.texts, stages, spec.training, seeds, folder, on_phase)
        progress = trainer.run()
    facts |= _training_facts(system, trainer)
    if progress.diverged:
        reason = f"the loss was not finite by step {progress.step}"
        record = Record(
            created=datetime.now(UTC), status="diverged", reason=reason, timings=tuple(watch.timings), **facts
        )
        stored = store.write(record, curve=progress.curve)
    else:
        stored = _score(system, prepared, facts, watch, store, on_phase, progress.curve)
    trainer.checkpoint.unlink(missing_ok=True)
    return stored.record


def score_model(
    model: ModelFolder,
    spec: RunSpec,
    out: Path,
    data_folder: Path | None = None,
    on_phase: OnPhase = lambda phase, fraction: None,
    device: str | None = None,
) -> Record:
    """Scores and records a model that is trained already, as a run does its own, or returns the record that is there.

    Args:
        model: the model.
        spec: how it is scored; see ``plan.evaluation_spec``.
        out: folder of the records.
        data_folder: holds the task's folder; needed when the spec's source is ``files``.
        on_phase: told of progress.
        device: ``cpu`` or ``cuda``; the GPU if there is one.

    Raises:
        BenchError: bad data, or a damaged model.
    """
    place = _device(device)
    watch, store = provenance.Stopwatch(), RecordStore(out)
    with watch.phase("data"):
        prepared = prepare(spec, data_folder, model)
    if (found := store.find(prepared.run_id)) is not None:
        return found.record
    system = model.load().to(place)
    facts = _facts(prepared, place) | {"model": _model_facts(system, model.digest())}
    return _score(system, prepared, facts, watch, store, on_phase).record


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _score(
    system: System,
    prepared: Prepared,
    facts: Mapping[str, Any],
    watch: provenance.Stopwatch,
    store: RecordStore,
    on_phase: OnPhase,
    curve: Sequence[Mapping[str, Any]] | None = None,
) -> StoredRun:
    """Scores a trained system and records it, with its learning curve if it has one."""
    spec, seeds, test = prepared.spec, named_seeds(prepared.spec.seed), prepared.texts["test"]
    with watch.phase("score"):
        scored = score_texts(system, test, spec.scoring, spec.precision, seeds["latent"], on_phase)
    with watch.phase("generate"):
        texts = generate_texts(system, spec.scoring.n_generations, test, spec.decoding, seeds["sampling"], on_phase)
    with watch.phase("metrics"):
        per_source = spec.decoding.samples_per_source
        measured = measure(
            scored,
            text_set(texts, prepared.data, per_source),
            prepared.data,
            bootstrap_of(spec.scoring, seeds["bootstrap"]),
        )
    record = Record(
        created=datetime.now(UTC),
        metrics=tuple(measured.scores),
        skipped=tuple(measured.skipped),
        timings=tuple(watch.timings),
        peak_memory_bytes=provenance.peak_memory(next(system.parameters()).device),
        **facts,
    )
    return store.write(record, measured.statistics, beside_sources(texts, prepared.data, per_source), curve)


def _skipped(reason: str, facts: dict[str, Any], store: RecordStore) -> Record:
    """Records that a run makes no sense, and why."""
    return store.write(Record(created=datetime.now(UTC), status="skipped", reason=reason, **facts)).record


def _facts(prepared: Prepared, device: torch.device) -> dict[str, Any]:
    """Returns the fields of the record that are known before training."""
    spec = prepared.spec
    precision = "bf16" if uses_bf16(spec.precision, device) else "fp32"
    return {
        "run_id": prepared.run_id,
        "suite_version": bench.__version__,
        **provenance.commit(),
        "spec": spec.model_dump(mode="json"),
        "components": dict(prepared.components),
        "seeds": dict(named_seeds(spec.seed)),
        "data": prepared.data_facts(),
        "environment": provenance.environment(device, precision),
    }


def _training_facts(system: System, trainer: train.Trainer) -> dict[str, Any]:
    """Returns the fields of the record that training decides."""
    progress = trainer.progress
    return {
        "model": _model_facts(system, None if progress.diverged else file_sha256(trainer.best_weights)),
        "training": {
            "steps": progress.step,
            "epochs": len(progress.curve),
            "best_epoch": progress.best_epoch,
            SPEED: progress.tokens / max(progress.seconds, 1e-9),
        },
    }


def _model_facts(system: System, weights_sha256: str | None) -> ModelFacts:
    return ModelFacts(
        parameters=sum(parameter.numel() for parameter in system.parameters()),
        weights_sha256=weights_sha256,
        vocabulary_size=len(system.tokenizer),
        details={"latent_groups": len(system.groups), "latent_dimensions": sum(system.groups)},
    )

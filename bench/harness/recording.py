"""A run on its way to its record: prepared, scored and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import bench
from bench.harness.apply_metrics import Measurement, apply_metrics, bootstrap_of, generation_rows, text_set
from bench.harness.generate import generate_texts
from bench.harness.model_folder import ModelFolder
from bench.harness.phases import OnPhase
from bench.harness.precision import uses_bf16
from bench.harness.prepare import Prepared, prepare
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.provenance import Stopwatch, commit, environment, peak_memory
from bench.harness.scoring import score_texts
from bench.interface import System
from bench.records.schema import ModelFacts, Record, Scalar, Status
from bench.records.store import RecordStore, StoredRun
from bench.seeds import named_seeds
from bench.specs import Identities, RunSpec


@dataclass(frozen=True)
class Recording:
    """A run on its way to its record.

    Attributes:
        prepared: the run.
        identities: of the run.
        store: receives the record.
        device: of the run.
        stopwatch: seconds by phase.
    """

    prepared: Prepared
    identities: Identities
    store: RecordStore
    device: torch.device
    stopwatch: Stopwatch

    @classmethod
    def begin(
        cls,
        spec: RunSpec,
        out: Path,
        data_folder: Path | None = None,
        device: str | None = None,
        model: ModelFolder | None = None,
    ) -> Recording:
        """Prepares a run.

        Args:
            spec: its spec.
            out: folder of the records.
            data_folder: parent of the task's folder; needed when the spec's source is ``files``.
            device: ``cpu`` or ``cuda``; by default the GPU if there is one.
            model: the trained model, for a run that only scores.

        Raises:
            BenchError: bad data.
        """
        stopwatch = Stopwatch()
        with stopwatch.phase("data"):
            prepared = prepare(spec, data_folder, model)
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(prepared, prepared.identities, RecordStore(out), torch.device(name), stopwatch)

    @property
    def spec_as_json(self) -> dict[str, Any]:
        """The spec as it is recorded."""
        return self.prepared.spec.model_dump(mode="json")

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.store.path(self.spec_as_json, self.identities.run)

    def score(
        self,
        system: System,
        model: ModelFacts,
        on_phase: OnPhase,
        training: Mapping[str, Scalar] | None = None,
        curve: Sequence[Mapping[str, Any]] | None = None,
        processes: ProcessGroup = ALONE,
    ) -> StoredRun:
        """Scores a trained system, applies all metrics and writes the record."""
        data, spec, seeds = self.prepared.data, self.prepared.spec, named_seeds(self.prepared.spec.seed)
        test, per_source = self.prepared.texts["test"], spec.decoding.samples_per_source
        with self.stopwatch.phase("score"), processes.together():
            terms = score_texts(system, test, spec.scoring, spec.precision, seeds["latent"], on_phase, processes)
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
            run_id=self.identities.run,
            training_id=self.identities.training,
            scoring_id=self.identities.scoring,
            created=datetime.now(UTC),
            suite_version=bench.__version__,
            commit=revision.sha,
            dirty=revision.dirty,
            status=status,
            reason=reason,
            spec=self.spec_as_json,
            components=dict(prepared.components),
            code=dict(prepared.code.training),
            scoring_code=dict(prepared.code.scoring),
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


def model_facts(system: System, weights_sha256: str | None) -> ModelFacts:
    """Returns the facts about a system for the record."""
    return ModelFacts(
        parameters=sum(parameter.numel() for parameter in system.parameters()),
        trainable_parameters=sum(parameter.numel() for parameter in system.parameters() if parameter.requires_grad),
        weights_sha256=weights_sha256,
        vocabulary_size=len(system.tokenizer),
        details={"latent_groups": len(system.groups), "latent_dimensions": sum(system.groups)},
    )

"""A run on its way to its record: prepared, scored and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import bench
from bench.errors import BenchError
from bench.harness.apply_metrics import Measurement, apply_metrics, bootstrap_of, generation_rows, text_set
from bench.harness.checkpoint import delete_checkpoints
from bench.harness.device import choose_device
from bench.harness.generate import generate_texts
from bench.harness.lock import acquire, lock_of
from bench.harness.model_folder import ModelFolder
from bench.harness.phases import OnPhase
from bench.harness.precision import uses_bf16
from bench.harness.prepare import Prepared, prepare
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.provenance import Stopwatch, commit, environment, peak_memory
from bench.harness.scoring import score_texts
from bench.interface import System
from bench.records.schema import ModelFacts, Record, Scalar, Status
from bench.records.store import RECORD, RecordStore, StoredRun, checkpoints_in
from bench.seeds import named_seeds
from bench.specs import Identities, RunSpec
from bench.storage import remove_abandoned


@dataclass(frozen=True)
class Recording:
    """A run on its way to its record.

    Attributes:
        prepared: the run.
        identities: of the run.
        store: receives the record.
        device: of the run.
        stopwatch: seconds by phase.
        check: called before each write; raises if another process has taken the run over.
    """

    prepared: Prepared
    identities: Identities
    store: RecordStore
    device: torch.device
    stopwatch: Stopwatch
    check: Callable[[], None] = lambda: None

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
            BenchError: bad data, or an unknown device.
        """
        stopwatch, chosen = Stopwatch(), choose_device(device)
        with stopwatch.phase("data"):
            prepared = prepare(spec, data_folder, model)
        return cls(prepared, prepared.identities, RecordStore(out), chosen, stopwatch)

    @property
    def spec_as_json(self) -> dict[str, Any]:
        """The spec as it is recorded."""
        return self.prepared.spec.model_dump(mode="json")

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.store.path(self.spec_as_json, self.identities.run)

    @property
    def lock(self) -> Path:
        """The lock of the run, which runs that share weights share: one of them trains, the others score."""
        return lock_of(self.store.root, self.identities.training)

    def stored(self) -> StoredRun | None:
        """Returns the run as it is recorded, if it is.

        Raises:
            BenchError: its record is unreadable.
        """
        return self.store.find(self.identities.run, self.folder)

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
            measurement = apply_metrics(
                terms, text_set(texts, data, per_source), data, bootstrap, mauve_encoder=spec.scoring.mauve_encoder
            )
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
        failure: str | None = None,
    ) -> StoredRun:
        """Writes the record; a run that was not trained has no timings.

        Raises:
            BenchError: a file cannot be written, or another process has taken the run over.
        """
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
        self.check()
        return self.store.write(record, statistics, generations, curve, failure)

    def fail(self, reason: str, trace: str) -> Record | None:
        """Records that the run failed; a finished record stays, and None is returned."""
        if (stored := self.stored()) is not None and stored.record.status == "finished":
            return None
        return self.write("failed", reason, failure=trace).record

    def forget(self) -> None:
        """Removes the old record of a run that is done again, before its weights are replaced.

        A process that is killed between the new weights and the new record then leaves no record of other weights.
        """
        (self.folder / RECORD).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes what killed processes left of a recorded run: its checkpoint and temporary files."""
        with suppress(OSError):
            remove_abandoned(self.folder)
        if checkpoints_in(self.folder):
            with suppress(BenchError, OSError), acquire(self.lock, self.folder.name):  # unless it is run again just now
                delete_checkpoints(self.folder)


def record_failure(spec: RunSpec, out: Path, data_folder: Path | None, reason: str) -> Record | None:
    """Records, from outside of the process of a run, that the run failed.

    Returns:
        None if nothing was recorded: the run is recorded as finished, another process works on it by now, or the run
        cannot be identified.
    """
    with suppress(BenchError):
        recording = Recording.begin(spec, out, data_folder)
        with acquire(recording.lock, recording.folder.name) as lock:
            return replace(recording, check=lock.check).fail(reason, f"{reason}\n")
    return None


def model_facts(system: System, weights_sha256: str | None) -> ModelFacts:
    """Returns the facts about a system for the record."""
    return ModelFacts(
        parameters=sum(parameter.numel() for parameter in system.parameters()),
        trainable_parameters=sum(parameter.numel() for parameter in system.parameters() if parameter.requires_grad),
        weights_sha256=weights_sha256,
        vocabulary_size=len(system.tokenizer),
        details={"latent_groups": len(system.groups), "latent_dimensions": sum(system.groups)},
    )

"""Scores of recorded runs, computed again or for the first time, without training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch

from bench.errors import BenchError
from bench.harness.apply_metrics import apply_metrics, bootstrap_of, text_set
from bench.harness.code import code_of_run
from bench.harness.components import metric_versions
from bench.harness.lock import acquire, lock_of
from bench.harness.model_folder import ModelFolder
from bench.harness.phases import OnPhase
from bench.harness.prepare import text_limits, tokenize_splits
from bench.harness.scoring import score_texts
from bench.harness.weights import WEIGHTS
from bench.metrics.model import MODEL_METRICS, ScoredTexts
from bench.metrics.score_files import read_texts
from bench.reading import parse_as
from bench.records.schema import Record
from bench.records.store import GENERATIONS, RecordStore, StoredRun
from bench.specs import METRIC, RunSpec
from bench.storage import damaged
from bench.tasks import TaskData, load_texts

logger = logging.getLogger(__name__)

GENERATION = "bench.harness.generate"
"""The module whose results are read from the file of generations."""


def rescore(runs: Sequence[StoredRun], data_folder: Path | None = None) -> list[Record]:
    """Computes the scores of finished runs again and writes their records; everything else in them stays.

    Metrics of texts are computed from the generations, metrics of models from the weights. Of a run without one of
    these files, the scores that need it stay as they are. Sources and references come from the data of the task.

    Args:
        runs: recorded runs.
        data_folder: parent of the task folders, for runs on texts from files.

    Raises:
        BenchError: the data or the weights differ from those of the record, or a file cannot be read or written.
    """
    rescored = []
    for run in runs:
        record = run.record
        if record.status != "finished":
            continue
        data = load_texts(_spec(run).task, data_folder)
        if data.sha256 != record.data.sha256:
            raise BenchError(
                f"{run.path}: its texts ({record.data.sha256[:12]}) are not those here ({data.sha256[:12]})."
            )
        with acquire(
            lock_of(run.path.parent.parent, record.training_id or record.run_id), run.path.parent.name
        ) as lock:
            again = score_recorded(run, data, kept_model(run), check=lock.check)
        if again is not record:
            rescored.append(again)
    return rescored


def kept_model(run: StoredRun) -> ModelFolder | None:
    """Returns the model that a run left in its folder; None if its weights were not kept.

    Raises:
        BenchError: the model is damaged, or its weights are not those that were scored.
    """
    if run.record.model is None or not ModelFolder.is_in(run.path.parent):
        return None
    model = ModelFolder.read(run.path.parent)
    if model.weights_sha256 != run.record.model.weights_sha256:
        raise damaged(model.path / WEIGHTS)
    return model


def score_recorded(
    run: StoredRun,
    data: TaskData,
    model: ModelFolder | None,
    names: Collection[str] | None = None,
    on_phase: OnPhase = lambda phase, fraction: None,
    device: torch.device | None = None,
    check: Callable[[], None] = lambda: None,
) -> Record:
    """Computes scores of a recorded run from its weights and generations, and writes its record.

    Args:
        run: a finished run.
        data: the texts of its task.
        model: its weights; None if they were not kept, then the metrics of a model are left as they are.
        names: of the metrics; None for all.
        on_phase: receives the progress.
        device: of the model; the CPU by default.
        check: called before the record is written; raises if another process has taken the run over.

    Returns:
        The new record; the old one if there is nothing to compute scores from.

    Raises:
        BenchError: a file cannot be read or written.
    """
    record, spec = run.record, _spec(run)
    wanted = set(metric_versions()) if names is None else set(names)
    of_model = wanted & set(MODEL_METRICS.names())
    if model is None and of_model:
        wanted -= of_model
        logger.info("%s: without its weights, %d metrics are left as they are", run.path.parent, len(of_model))
    generations = _generations(run)
    terms = _terms(spec, data, model, record, on_phase, device) if model is not None and of_model else None
    if terms is None and not generations:
        return record
    texts = text_set(generations, data, spec.decoding.samples_per_source)
    bootstrap = bootstrap_of(spec.scoring, record.seeds["bootstrap"])
    measurement = apply_metrics(terms, texts, data, bootstrap, wanted, spec.scoring.mauve_encoder)
    new = {score.name for score in measurement.scores} | {skipped.metric for skipped in measurement.skipped}
    versions = {f"{METRIC}{name}": version for name, version in metric_versions().items() if name in wanted}
    components = {**record.components, **versions}
    code = dict(code_of_run(spec).scoring)
    code.pop(GENERATION, None)
    splits = record.data.split_sha256
    updated = record.model_copy(
        update={
            "scoring_id": spec.identify(components, splits).scoring if splits else None,
            "components": components,
            "scoring_code": {**record.scoring_code, **code} if record.scoring_code else {},
            "metrics": (*(score for score in record.metrics if score.name not in new), *measurement.scores),
            "skipped": (*(skipped for skipped in record.skipped if skipped.metric not in new), *measurement.skipped),
        }
    )
    statistics = {**run.statistics(), **measurement.statistics} if measurement.statistics else None
    check()
    return RecordStore(run.path.parent.parent).write(updated, statistics).record


def _generations(run: StoredRun) -> Sequence[str]:
    path = run.path.with_name(GENERATIONS)
    if not path.exists():
        return ()
    run.check(GENERATIONS)
    return read_texts(path) if path.stat().st_size else ()


def _terms(
    spec: RunSpec,
    data: TaskData,
    model: ModelFolder,
    record: Record,
    on_phase: OnPhase,
    device: torch.device | None,
) -> ScoredTexts:
    """Returns the terms of the test texts, as the run itself computed them."""
    texts = tokenize_splits(data, model.tokenizer, text_limits(spec))["test"]
    system = model.load().to(device or torch.device("cpu"))
    return score_texts(system, texts, spec.scoring, spec.precision, record.seeds["latent"], on_phase)


def _spec(run: StoredRun) -> RunSpec:
    return parse_as(RunSpec, run.record.spec, str(run.path))

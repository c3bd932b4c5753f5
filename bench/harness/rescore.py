"""Recomputes the text metrics of recorded runs from their generations, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.harness.apply_metrics import Measurement, apply_text_metrics, bootstrap_of, text_set
from bench.harness.code import code_of_text_metrics
from bench.metrics.score_files import read_texts
from bench.metrics.text import TEXT_METRICS
from bench.reading import parse_as
from bench.records.schema import Record
from bench.records.store import GENERATIONS, RecordStore, StoredRun
from bench.specs import RunSpec
from bench.tasks import load_texts


def rescore(runs: Sequence[StoredRun], data_folder: Path | None = None) -> list[Record]:
    """Replaces the text metrics of finished runs and writes their records; everything else in them stays.

    Args:
        runs: recorded runs; those without a file of generations stay as they are. Sources and references come from
            the data of the task, not from that file.
        data_folder: parent of the task folders, for runs on texts from files.

    Raises:
        BenchError: the data differ from those of the record, or a file cannot be read or written.
    """
    rescored = []
    for run in runs:
        path = run.path.with_name(GENERATIONS)
        if run.record.status == "finished" and path.exists() and path.stat().st_size:
            rescored.append(_rescore(run, read_texts(path), data_folder))
    return rescored


def _rescore(run: StoredRun, generations: Sequence[str], data_folder: Path | None) -> Record:
    spec = parse_as(RunSpec, run.record.spec, str(run.path))
    data = load_texts(spec.task, data_folder)
    if data.sha256 != run.record.data.sha256:
        raise BenchError(
            f"{run.path}: its texts ({run.record.data.sha256[:12]}) are not those here ({data.sha256[:12]})."
        )
    texts = text_set(generations, data, spec.decoding.samples_per_source)
    measurement = Measurement()
    apply_text_metrics(measurement, texts, bootstrap_of(spec.scoring, run.record.seeds["bootstrap"]))
    replaced = set(TEXT_METRICS.names())
    metrics = [score for score in run.record.metrics if score.name not in replaced]
    skipped = [metric for metric in run.record.skipped if metric.metric not in replaced]
    record = run.record.model_copy(
        update={
            "metrics": (*metrics, *measurement.scores),
            "skipped": (*skipped, *measurement.skipped),
            "code": run.record.code and {**run.record.code, **code_of_text_metrics()},
        }
    )
    return RecordStore(run.path.parent.parent).write(record).record

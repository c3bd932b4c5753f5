"""Reads audit rows from records and from CSVs of published figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.audit.facts import Citation, DatasetFacts, PaperFacts
from bench.audit.findings import Location
from bench.audit.rows import ENTROPY, ENTROPY_PERPLEXITY, AuditFigure, AuditRow
from bench.bootstrap import Array
from bench.errors import BenchError
from bench.metric import Signature
from bench.records.doubts import training_end
from bench.records.published import PublishedFigure, read_paper
from bench.records.schema import Record, RecordedScore
from bench.records.store import STATISTICS, StoredRun, load_runs

PERCENTAGES = (
    *("BLEU", "Self-BLEU", "ROUGE", "BERTScore", "Dist", "JS", "Jaccard", "MAUVE"),
    *("Accuracy", "Recall", "Precision", "F1"),
)
"""Beginnings of the names of metrics that papers print as percentages or fractions."""

LIKELIHOODS = {"PPL": "NLL", ENTROPY_PERPLEXITY: ENTROPY}
"""Perplexity to the figure of minus the log-probability behind it, in nats per text."""

FIGURES_IN_NATS = {**LIKELIHOODS, **{name: name for name in ("ELBO", "Rec", "KL", "MI")}}
"""Metric with nats of a text as its first per-text statistic, to the figure that this statistic is."""


def read_rows(paths: Iterable[Path]) -> list[AuditRow]:
    """Reads records and published figures.

    Args:
        paths: record files, CSVs of published figures, and folders: of records at any depth or, if it has none, of
            CSVs.

    Raises:
        BenchError: a path does not exist or holds neither, or a file is damaged.
    """
    rows: list[AuditRow] = []
    for path in paths:
        tables = [path] if path.suffix == ".csv" else []
        runs = [] if tables else load_runs([path])
        if not runs and path.is_dir():
            tables = sorted(path.glob("*.csv"))
        if not (runs or tables):
            raise BenchError(f"nothing to audit in {path}: neither records nor CSVs of published figures.")
        rows += rows_of_runs(runs)
        for table in tables:
            rows += rows_of_figures(read_paper(table), PaperFacts.read_beside(table))
    return rows


def rows_of_figures(figures: Iterable[PublishedFigure], facts: PaperFacts) -> list[AuditRow]:
    """Returns the rows of a paper, in printed order."""
    cells: dict[tuple[str, str, str, str, str], dict[str, AuditFigure]] = {}
    unread: dict[tuple[str, str, str, str, str], list[str]] = {}
    for published in figures:
        unit = "%" if published.metric.startswith(PERCENTAGES) else "count" if published.metric == "AU" else ""
        key = (published.key, published.table, published.dataset, published.model, published.variant)
        row = cells.setdefault(key, {})
        if (figure := AuditFigure.from_text(published.printed, unit)) is not None:
            row[published.metric] = figure
        else:
            unread.setdefault(key, []).append(published.printed)
    rows = []
    for key, row_figures in cells.items():
        paper, table, dataset, model, variant = key
        row_facts, data = facts.of_row(model, variant), facts.datasets.get(dataset, DatasetFacts())
        rows.append(
            AuditRow(
                location=Location(paper, table, dataset, _row_name(model, variant)),
                figures=row_figures,
                n_texts=data.texts,
                latent_size=row_facts.latent_size,
                n_groups=row_facts.n_groups,
                max_units=row_facts.max_units or row_facts.latent_size,
                words=AuditFigure.from_text(data.words) if data.words else None,
                conditional=data.conditional,
                cites=_cited_location(row_facts.cites, dataset) if row_facts.cites else None,
                unread=tuple(unread.get(key, ())),
            )
        )
    return rows


def _row_name(model: str, variant: str) -> str:
    return f"{model} ({variant})" if variant else model


def _cited_location(citation: Citation, dataset: str) -> Location:
    return Location(citation.paper, citation.table, dataset, _row_name(citation.model, citation.variant))


def rows_of_runs(runs: Iterable[StoredRun]) -> list[AuditRow]:
    """Returns a row for each run that the system supports; only those of finished runs have figures."""
    return [_row(run) for run in runs if run.record.status != "skipped"]


def _row(run: StoredRun) -> AuditRow:
    record = run.record
    location = Location("records", record.scale, record.task, f"{record.label} seed {record.seed} ({record.run_id})")
    if record.status != "finished":
        return AuditRow(location, {}, from_record=True, lost=f"{record.status}: {record.reason}")
    scores = {score.name: score for score in record.metrics if score.split == "test"}
    figures = {name: _figure(score) for name, score in scores.items()}
    for perplexity, likelihood in LIKELIHOODS.items():
        if (nats := _in_nats(figures.get(perplexity), _tokens_per_text(record))) is not None:
            figures[likelihood] = nats
    details = record.model.details if record.model else {}
    ppl = scores.get("PPL")
    return AuditRow(
        location=location,
        figures=figures,
        n_texts=ppl.n if ppl else None,
        latent_size=_optional_int(details.get("latent_dimensions")),
        n_groups=_optional_int(details.get("latent_groups")),
        max_units=_optional_int(details.get("latent_dimensions")),
        n_samples=_optional_int(dict(Signature.parse(ppl.signature).fields).get("K")) if ppl else None,
        conditional=record.data.kind == "conditional",
        from_record=True,
        per_text=_nats_per_text(run),
        end=training_end(run),
    )


def _figure(score: RecordedScore) -> AuditFigure:
    interval = (score.interval.low, score.interval.high) if score.interval else None
    return AuditFigure(score.value, f"{score.value:.6g}", score.unit, interval=interval)


def _in_nats(perplexity: AuditFigure | None, tokens: float | None) -> AuditFigure | None:
    """Returns minus the log-probability of a text; None if an argument is None or the perplexity is not positive."""
    if perplexity is None or tokens is None:
        return None
    ends = perplexity.interval or (perplexity.value, perplexity.value)
    if min(perplexity.value, *ends) <= 0:
        return None
    value, low, high = (math.log(ppl) * tokens for ppl in (perplexity.value, *ends))
    return AuditFigure(value, f"{value:.6g}", "nats", interval=(low, high) if perplexity.interval else None)


def _tokens_per_text(record: Record) -> float | None:
    """Returns the predicted tokens per test text; None if the record lacks them."""
    tokens, test = (record.data.statistics.get(key) for key in ("tokens", "test"))
    if not isinstance(tokens, dict) or not isinstance(test, dict):
        return None
    count, texts = tokens.get("test"), test.get("texts")
    return count / texts if isinstance(count, int | float) and isinstance(texts, int) and texts else None


def _nats_per_text(run: StoredRun) -> dict[str, Array]:
    statistics = run.statistics(FIGURES_IN_NATS)
    nats = {figure: statistics[name][:, 0] for name, figure in FIGURES_IN_NATS.items() if name in statistics}
    if len(set(map(len, nats.values()))) > 1:
        raise BenchError(f"{run.path.with_name(STATISTICS)}: the statistics are not of the same texts.")
    return nats


def _optional_int(value: Any) -> int | None:
    """Returns a whole number that a record holds as a number or a text; None for anything else."""
    try:
        return None if value is None else int(value)
    except (ValueError, OverflowError):
        return None

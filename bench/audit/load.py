"""From records and from CSVs of published figures to rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.audit.facts import Citation, DatasetFacts, PaperFacts
from bench.audit.findings import Place
from bench.audit.rows import Figure, Row
from bench.bootstrap import Array
from bench.errors import BenchError
from bench.metric import Signature
from bench.records.published import PublishedFigure, read_paper
from bench.records.schema import Record, RecordedScore
from bench.records.store import StoredRun, load_runs

PERCENTAGES = (
    *("BLEU", "Self-BLEU", "ROUGE", "BERTScore", "Dist", "JS", "Jaccard", "MAUVE"),
    *("Accuracy", "Recall", "Precision", "F1"),
)
"""How the names of metrics begin that papers print in per cent, or as fractions."""

NATS = {"PPL": "NLL", "PPL floor": "NLL floor", "ELBO": "ELBO", "Rec": "Rec", "KL": "KL", "MI": "MI"}
"""Metrics whose first per-text statistic is nats of the text, and what these nats are."""


def load_rows(paths: Iterable[Path]) -> list[Row]:
    """Reads what can be audited.

    Args:
        paths: record files, CSVs of published figures, and folders: of records at any depth or, where there are
            none, of CSVs.

    Raises:
        BenchError: a path does not exist or holds neither, or a file is damaged.
    """
    rows: list[Row] = []
    for path in paths:
        tables = [path] if path.suffix == ".csv" else []
        runs = [] if tables else load_runs([path])
        if not runs and path.is_dir():
            tables = sorted(path.glob("*.csv"))
        if not (runs or tables):
            raise BenchError(f"nothing to audit in {path}: neither records nor CSVs of published figures.")
        rows += rows_of_runs(runs)
        for table in tables:
            rows += rows_of_figures(read_paper(table), PaperFacts.beside(table))
    return rows


def rows_of_figures(figures: Iterable[PublishedFigure], facts: PaperFacts) -> list[Row]:
    """Returns the rows of a paper, in printed order."""
    cells: dict[tuple[str, str, str, str, str], dict[str, Figure]] = {}
    for one in figures:
        unit = "%" if one.metric.startswith(PERCENTAGES) else "count" if one.metric == "AU" else ""
        if (figure := Figure.printed(one.printed, unit)) is not None:
            cells.setdefault((one.key, one.table, one.dataset, one.model, one.variant), {})[one.metric] = figure
    rows = []
    for (key, table, dataset, model, variant), found in cells.items():
        known, data = facts.of_row(model, variant), facts.datasets.get(dataset, DatasetFacts())
        rows.append(
            Row(
                place=Place(key, table, dataset, _named(model, variant)),
                figures=found,
                n_texts=data.texts,
                latent_size=known.latent_size,
                n_groups=known.n_groups,
                max_units=known.max_units or known.latent_size,
                words=Figure.printed(data.words) if data.words else None,
                conditional=data.conditional,
                cites=_cited(known.cites, dataset) if known.cites else None,
            )
        )
    return rows


def _named(model: str, variant: str) -> str:
    return f"{model} ({variant})" if variant else model


def _cited(citation: Citation, dataset: str) -> Place:
    return Place(citation.paper, citation.table, dataset, _named(citation.model, citation.variant))


def rows_of_runs(runs: Iterable[StoredRun]) -> list[Row]:
    """Returns a row for each finished run; the others hold no figures."""
    return [_row(run) for run in runs if run.record.status == "finished"]


def _row(run: StoredRun) -> Row:
    record = run.record
    scores = {score.name: score for score in record.metrics if score.split == "test"}
    figures = {name: _figure(score) for name, score in scores.items()}
    for perplexity in ("PPL", "PPL floor"):
        if (nats := _in_nats(figures.get(perplexity), _tokens_per_text(record))) is not None:
            figures[NATS[perplexity]] = nats
    details = record.model.details if record.model else {}
    likelihood = scores.get("PPL")
    return Row(
        place=Place("records", record.scale, record.task, f"{record.label} seed {record.seed} ({record.run_id})"),
        figures=figures,
        n_texts=likelihood.n if likelihood else None,
        latent_size=_whole(details.get("latent_dimensions")),
        n_groups=_whole(details.get("latent_groups")),
        max_units=_whole(details.get("latent_dimensions")),
        n_samples=_whole(dict(Signature.parse(likelihood.signature).fields).get("K")) if likelihood else None,
        conditional=record.data.kind == "conditional",
        recorded=True,
        per_text=_nats(run.statistics()),
    )


def _figure(score: RecordedScore) -> Figure:
    interval = (score.interval.low, score.interval.high) if score.interval else None
    return Figure(score.value, f"{score.value:.6g}", score.unit, interval=interval)


def _in_nats(perplexity: Figure | None, tokens: float | None) -> Figure | None:
    """Returns minus the log-probability behind a perplexity; None where either is not known, or it is no perplexity."""
    if perplexity is None or tokens is None:
        return None
    ends = perplexity.interval or (perplexity.value, perplexity.value)
    if min(perplexity.value, *ends) <= 0:
        return None
    value, low, high = (math.log(one) * tokens for one in (perplexity.value, *ends))
    return Figure(value, f"{value:.6g}", "nats", interval=(low, high) if perplexity.interval else None)


def _tokens_per_text(record: Record) -> float | None:
    """Returns the predicted tokens per test text, where the record says."""
    tokens, test = (record.data.statistics.get(key) for key in ("tokens", "test"))
    if not isinstance(tokens, dict) or not isinstance(test, dict):
        return None
    count, texts = tokens.get("test"), test.get("texts")
    return count / texts if isinstance(count, int | float) and isinstance(texts, int) and texts else None


def _nats(statistics: Mapping[str, Array]) -> dict[str, Array]:
    return {nats: statistics[name][:, 0] for name, nats in NATS.items() if name in statistics}


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)

"""Applies metrics to the results of a run: unreduced terms and generations."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.bootstrap import Array, Bootstrap
from bench.errors import reason_of
from bench.metric import Metric, PerTextMetric
from bench.metrics.model import MODEL_METRICS, ScoredTexts, model_metrics
from bench.metrics.probe import probe
from bench.metrics.text import TextSet, text_metrics
from bench.records.schema import RecordedScore, Skipped
from bench.specs import ScoringSpec
from bench.tasks import TaskData

logger = logging.getLogger(__name__)

InputT = TypeVar("InputT")
Generation = Mapping[str, str]
"""A generated ``text``, on conditional tasks beside its ``source`` and ``reference``."""


@dataclass(frozen=True)
class Measurement:
    """Scores, the metrics without one, and per-text statistics by metric name."""

    scores: list[RecordedScore] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    statistics: dict[str, Array] = field(default_factory=dict)

    def apply(self, metrics: Iterable[Metric[InputT]], inputs: InputT, bootstrap: Bootstrap | None, keep: bool) -> None:
        """Applies metrics in the order of the record.

        A metric is skipped with the reason if it does not apply, if its value is not finite, or if it raises: an
        error in one metric must not cost the others.

        Args:
            metrics: the metrics.
            inputs: their inputs.
            bootstrap: of the intervals; None for no intervals.
            keep: whether to keep per-text statistics, for paired tests of two systems on the same texts.
        """
        for metric in metrics:
            try:
                reason = metric.supports(inputs)
                score = metric.score(inputs, bootstrap) if reason is None else None
                statistics = metric.statistics(inputs) if score and keep and isinstance(metric, PerTextMetric) else None
            except Exception as error:  # a metric may come from any package
                logger.exception("metric %s failed", metric.name)
                reason, score = reason_of(error), None
            if score is not None and not math.isfinite(score.value):
                reason = f"the value is {score.value}"
            if score is None or reason is not None:
                self.skipped.append(Skipped(metric=metric.name, reason=reason or ""))
                continue
            self.scores.append(RecordedScore.of(score))
            if statistics is not None:
                self.statistics[metric.name] = statistics


def apply_metrics(
    scored: ScoredTexts | None,
    texts: TextSet | None,
    data: TaskData,
    bootstrap: Bootstrap | None,
    names: Collection[str] | None = None,
    mauve_encoder: str | None = None,
) -> Measurement:
    """Applies metrics to a run; one that cannot be loaded is skipped.

    Args:
        scored: terms of the test texts, for the metrics of a model; None leaves these out.
        texts: the generations with their references, for the metrics of texts; None leaves these out.
        data: the texts of the task.
        bootstrap: of the intervals; None for no intervals.
        names: of the metrics, whose variants are applied too; None for all.
        mauve_encoder: of MAUVE; None for its default.
    """
    measurement = Measurement()

    def skip(reasons: Mapping[str, str]) -> None:
        chosen = {name: reason for name, reason in reasons.items() if names is None or name in names}
        measurement.skipped.extend(Skipped(metric=name, reason=reason) for name, reason in chosen.items())

    if scored is not None:
        scored = with_truth(scored, data)
        skip(MODEL_METRICS.all()[1])
        measurement.apply(model_metrics(scored.groups, scored.probe_hits, names), scored, bootstrap, keep=True)
    if texts is not None:
        metrics, reasons = text_metrics({"MAUVE": {"encoder": mauve_encoder}} if mauve_encoder else None)
        skip(reasons)
        chosen = [metric for metric in metrics if names is None or metric.name in names]
        measurement.apply(chosen, texts, bootstrap, keep=False)
    return measurement


def with_truth(scored: ScoredTexts, data: TaskData) -> ScoredTexts:
    """Returns the scored test texts with the exact log p(x) and the probe hits of a grammar; real text has neither."""
    probe_hits = probe(scored.mean, scored.groups, data.factors["test"])
    return replace(scored, true_log_p=data.test_log_p, probe_hits=probe_hits)


def bootstrap_of(scoring: ScoringSpec, seed: int) -> Bootstrap | None:
    """Returns the bootstrap for the intervals of a run; None if its spec asks for no resamples."""
    return Bootstrap(scoring.bootstrap_samples, seed) if scoring.bootstrap_samples else None


def generation_rows(texts: Sequence[str], data: TaskData, per_source: int) -> list[Generation]:
    """Returns the rows of the file of generations: the text, on conditional tasks with its source and reference."""
    if data.kind == "unconditional":
        return [{"text": text} for text in texts]
    examples = data.splits["test"]
    return [
        {"source": examples[i // per_source].source or "", "reference": examples[i // per_source].target, "text": text}
        for i, text in enumerate(texts)
    ]


def text_set(texts: Sequence[str], data: TaskData, per_source: int) -> TextSet | None:
    """Returns the generated texts with their references, the test texts and the training texts; None without texts.

    Args:
        texts: generated texts in the order of the test examples.
        data: the task's texts.
        per_source: samples of each source, on conditional tasks.
    """
    if not texts:
        return None
    conditional = data.kind == "conditional"
    corpus, train = (tuple(example.target for example in data.splits[split]) for split in ("test", "train"))
    return TextSet(
        tuple(texts),
        references=tuple((corpus[i // per_source],) for i in range(len(texts))) if conditional else (),
        corpus=corpus,
        train=train,
        per_source=per_source if conditional else None,
    )

"""Applies metrics to the results of a run: unreduced terms and generations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.bootstrap import Array, Bootstrap
from bench.metric import Metric, PerTextMetric
from bench.metrics.model import ScoredTexts, model_metrics
from bench.metrics.probe import probe
from bench.metrics.text import TEXT_METRICS, TextSet
from bench.records.schema import RecordedScore, Skipped
from bench.specs import ScoringSpec
from bench.tasks import TaskData

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
        """Applies metrics; one that does not apply, or whose value is not finite, is skipped with its reason.

        Args:
            metrics: in the order of the record.
            inputs: what they measure.
            bootstrap: resampling behind the intervals; None for none.
            keep: whether to keep per-text statistics, for paired tests of two systems on the same texts.
        """
        for metric in metrics:
            reason = metric.supports(inputs)
            score = metric.score(inputs, bootstrap) if reason is None else None
            if score is not None and not math.isfinite(score.value):
                reason = f"the value is {score.value}"
            if score is None or reason is not None:
                self.skipped.append(Skipped(metric=metric.name, reason=reason or ""))
                continue
            self.scores.append(RecordedScore.of(score))
            if keep and isinstance(metric, PerTextMetric):
                self.statistics[metric.name] = metric.statistics(inputs)


def apply_metrics(
    scored: ScoredTexts, texts: TextSet | None, data: TaskData, bootstrap: Bootstrap | None
) -> Measurement:
    """Applies every metric to a run.

    Args:
        scored: terms of the test texts.
        texts: the generations with their references; None if there are none.
        data: the texts of the task.
        bootstrap: of the intervals; None for no intervals.
    """
    scored = with_truth(scored, data)
    measurement = Measurement()
    measurement.apply(model_metrics(scored.groups, scored.probe_hits), scored, bootstrap, keep=True)
    apply_text_metrics(measurement, texts, bootstrap)
    return measurement


def with_truth(scored: ScoredTexts, data: TaskData) -> ScoredTexts:
    """Returns the scored test texts with what is known of them: exact probabilities and factors, of a grammar's."""
    known = None if data.log_p is None else data.log_p(data.splits["test"])
    probe_hits = probe(scored.mean, scored.groups, data.factors["test"])
    return replace(scored, true_log_p=known, probe_hits=probe_hits)


def bootstrap_of(scoring: ScoringSpec, seed: int) -> Bootstrap | None:
    """Returns the resampling behind the intervals of a run; None where it asks for none."""
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
    """Returns generated texts beside their references and the test and training texts; None where there are none.

    Args:
        texts: in the order of the test examples they belong to.
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


def apply_text_metrics(measurement: Measurement, texts: TextSet | None, bootstrap: Bootstrap | None) -> None:
    """Applies every text metric to generated texts, if there are any."""
    if texts is not None:
        measurement.apply((create() for create in TEXT_METRICS.all().values()), texts, bootstrap, keep=False)

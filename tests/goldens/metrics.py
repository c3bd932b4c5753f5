"""Values, signatures and intervals of each metric, of models on scored texts and of generated texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.bootstrap import Bootstrap
from bench.metric import Metric, Score
from bench.metrics.bertscore import BERTScore
from bench.metrics.encoders import TokenVectors
from bench.metrics.model import MODEL_METRICS
from bench.metrics.probe import Probe, probe
from bench.metrics.text import TEXT_METRICS, TextSet
from tests.goldens.golden import Golden, Kind, own_names, place_of
from tests.metrics.scored_cases import random_scored

TOLERANCE = 1e-12
"""The same arithmetic in float64, with another machine's exp and log."""

BOOTSTRAP = Bootstrap(samples=50, seed=7)
SCORED = random_scored(seed=2022, n=50, k=8, groups=(4, 4, 8))

SAMPLES = (
    "the old ferry left the harbour before the rain began .",
    "the old ferry left the island , and the rain began again .",
    "Nobody's fault, said the pilot: it costs $1,200.50 to repair.",
    "nobody said anything .",
    "",
    "ferry",
    "the rain , the rain , the rain .",
    "Żeby w zatoce padał śnieg, trzeba zimy - 冬 !",
)
REFERENCES = (
    "the old ferry left the harbour before it began to rain .",
    "the ferry left the island when the rain began again .",
    "It's nobody's fault, the pilot said: repairs cost $1,200.50.",
    "nobody said a word .",
    "the harbour was empty .",
    "the ferry",
    "the rain fell on the harbour .",
    "W zatoce padał śnieg - 冬 .",
)
TEXTS = TextSet(
    SAMPLES, tuple((text,) for text in REFERENCES), train=(*REFERENCES[:3], "nobody  said anything ."), per_source=4
)


class Letters:
    """Stands for a pretrained encoder: the vector of a word counts its letters; the first word is special."""

    signature = "letters"

    def token_vectors(self, texts: Sequence[str], layer: int | None) -> list[TokenVectors]:
        return [self._vectors(["[", *text.split()]) for text in texts]

    def _vectors(self, words: Sequence[str]) -> TokenVectors:
        counts = np.array([np.bincount([ord(letter) % 16 for letter in word], minlength=16) for word in words])
        vectors = (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)
        return TokenVectors(vectors, np.arange(len(words)) > 0)


def values_of(score: Score) -> dict[str, Any]:
    interval = score.interval and [score.interval.low, score.interval.high]
    return {"value": score.value, "signature": score.signature, "interval": interval}


def measure_model(name: str) -> Golden:
    metric = MODEL_METRICS.get(name)()
    groups = range(1, len(SCORED.groups) + 1)
    values = values_of(metric.score(SCORED, BOOTSTRAP))
    for variant in metric.variants(groups, tuple(SCORED.probe_hits)):
        score = variant.score(SCORED, BOOTSTRAP)
        values |= {f"{variant.name}, {what}": value for what, value in values_of(score).items()}
    if isinstance(metric, Probe):
        factors = {"sign": np.where(SCORED.mean[:, 4] + SCORED.mean[:, 9] > 0, "+", "-").tolist()}
        hits = probe(SCORED.mean, SCORED.groups, factors)
        values["hits"] = {factor: found.mean(axis=0).tolist() for factor, found in hits.items()}
    return Golden(metric.version, place_of(metric), values)


def measure_text(name: str) -> Golden:
    metric: Metric[TextSet] = TEXT_METRICS.get(name)()
    if isinstance(metric, BERTScore):
        vars(metric)["_encoder"] = Letters()
        rows = metric.statistics(TEXTS)
        values = {
            "value": float(metric.aggregate(rows.mean(axis=0), len(rows))),
            "signature": str(metric.signature(TEXTS)),
        }
    else:
        values = values_of(metric.score(TEXTS, BOOTSTRAP))
    return Golden(metric.version, place_of(metric), values)


MODEL_METRIC = Kind("model metric", lambda: own_names(MODEL_METRICS), measure_model, TOLERANCE)
TEXT_METRIC = Kind(
    "text metric",
    lambda: own_names(TEXT_METRICS),
    measure_text,
    TOLERANCE,
    exempt={"MAUVE": "all its arithmetic is that of mauve-text and of an encoder, which its signature names"},
)

"""What figures draw, read from records: learning curves, latent groups, latent layers, the known entropy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.records.schema import Record, RecordedScore
from bench.records.store import StoredRun

ENTROPY = "ELBO floor"
"""Score: the entropy of the true distribution, in nats per text."""

CURVES: Mapping[str, tuple[str, ...]] = {
    "Rec": ("valid Rec", "train rec"),
    "KL": ("valid KL", "train kl"),
    "β": ("beta",),
}
"""Quantity to the columns of a learning curve that hold it; the first that a curve has is drawn."""

_OF_GROUP = re.compile(r"(KL|AU)\[(\d{1,4})\]")
_LAYERS = re.compile(r"(\d{1,4})-(\d{1,4})(?:/(\d{1,4}))?")


@dataclass(frozen=True)
class LearningCurve:
    """Quantity to its values, each as long as the steps; NaN where a step has none."""

    steps: tuple[float, ...]
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class LatentGroup:
    """KL (nats), active units and size of one latent group; None of what was not measured."""

    number: int
    kl: float | None = None
    active_units: float | None = None
    size: float | None = None


@dataclass(frozen=True)
class LatentLayers:
    """The layers with latent variables, counted from 1: their number, and what the range leaves out.

    Attributes:
        count: number of latent layers.
        series: ``all layers``, ``start at a layer``, ``end at a layer`` or ``both``.
    """

    count: int
    series: str


def test_scores(record: Record) -> dict[str, RecordedScore]:
    """Returns name to score of a finished run, on its test texts."""
    return {score.name: score for score in record.metrics if score.split == "test" and record.status == "finished"}


def learning_curve(run: StoredRun, most: int | None = None) -> LearningCurve | None:
    """Returns the learning curve; None if none was stored.

    Args:
        run: the run.
        most: its largest number of points; of a longer curve it has every second, third and so on, and the last.

    Raises:
        BenchError: the file is damaged.
    """
    rows = [row for row in run.curve() or () if isinstance(row, dict) and math.isfinite(_number(row.get("step")))]
    if not rows:
        return None
    every = -(-len(rows) // most) if most else 1
    chosen = [row for place, row in enumerate(rows, start=1) if place % every == 0 or place == len(rows)]
    columns = {name: next((c for c in among if any(c in row for row in rows)), None) for name, among in CURVES.items()}
    values = {name: tuple(_number(row.get(c)) for row in chosen) for name, c in columns.items() if c is not None}
    return LearningCurve(tuple(_number(row["step"]) for row in chosen), values)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < math.inf else math.nan


def latent_groups(record: Record) -> list[LatentGroup]:
    """Returns the latent groups of a run, the lowest layer first; total KL and AU are those of a single group."""
    scores = test_scores(record)
    details = record.model.details if record.model else {}
    count, dimensions = (_number(details.get(f"latent_{name}")) for name in ("groups", "dimensions"))
    size = dimensions / count if count >= 1 else math.nan
    found: dict[int, dict[str, float]] = {}
    for name, score in scores.items():
        if match := _OF_GROUP.fullmatch(name):
            found.setdefault(int(match[2]), {})[match[1]] = score.value
    if not found and count == 1:
        found = {1: {name: scores[name].value for name in ("KL", "AU") if name in scores}}
    known_size = size if math.isfinite(size) else None
    return [LatentGroup(n, of.get("KL"), of.get("AU"), known_size) for n, of in sorted(found.items()) if of]


def latent_layers(record: Record) -> LatentLayers | None:
    """Returns which layers have latent variables; None of a system whose options have no ``layers``."""
    system = record.spec.get("system")
    options = system.get("options") if isinstance(system, dict) else None
    layers = options.get("layers") if isinstance(options, dict) else None
    count = _number(record.model.details.get("latent_groups")) if record.model else math.nan
    if not isinstance(layers, str) or not math.isfinite(count):
        return None
    if layers == "all":
        return LatentLayers(int(count), "all layers")
    if not (match := _LAYERS.fullmatch(layers)):
        return None
    first, last, of = match.groups()
    backbone = record.spec.get("backbone")
    depth = of or (str(backbone.get("layers")) if isinstance(backbone, dict) else "")
    series = {(True, True): "all layers", (False, True): "start at a layer", (True, False): "end at a layer"}
    return LatentLayers(int(count), series.get((first == "1", last == depth), "both"))


def known_entropy(records: Sequence[Record]) -> RecordedScore | None:
    """Returns the entropy of the true distribution from the first run that has it."""
    return next((score for record in records if (score := test_scores(record).get(ENTROPY))), None)

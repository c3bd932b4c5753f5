"""What a number is: a metric turns per-text statistics into a score that carries its signature.

The statistics of a per-text metric are a matrix (texts x columns). The metric itself is a function of the column
MEANS, so a bootstrap over texts needs no second run: resampled means go through the same function. This module
imports neither torch nor any model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

Array = npt.NDArray[np.float64]
Direction = Literal["up", "down"]
InputT = TypeVar("InputT")


@dataclass(frozen=True)
class Signature:
    """Says which arithmetic a number comes from. Two signatures never share a table column unless asked.

    Attributes:
        metric: name of the metric, as in the table.
        fields: settings that change the value, in the order they are printed.
        version: version of the arithmetic; rises whenever the value on the same input moves.
    """

    metric: str
    fields: tuple[tuple[str, str], ...]
    version: int

    def __str__(self) -> str:
        """The long form, for example ``PPL|est:iw|K:500|sum:groups|den:tokens+eos|v:1``."""
        return "|".join([self.metric, *(f"{k}:{v}" for k, v in self.fields), f"v:{self.version}"])

    @property
    def short(self) -> str:
        """The values alone, for example ``PPL|iw|500|groups|tokens+eos|1``."""
        return "|".join([self.metric, *(v for _, v in self.fields), str(self.version)])

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Reads the long form back.

        Raises:
            BenchError: the text is not a signature.
        """
        metric, *pairs = text.split("|")
        fields = [tuple(pair.split(":", 1)) for pair in pairs]
        if (
            not fields
            or any(len(field) != 2 for field in fields)
            or fields[-1][0] != "v"
            or not fields[-1][1].isdecimal()
        ):
            raise BenchError(f"not a metric signature: {text!r} (expected name|key:value|…|v:number)")
        return cls(metric, tuple((k, v) for k, v in fields[:-1]), int(fields[-1][1]))


def signature(metric: str, version: int, **fields: object) -> Signature:
    """Returns a signature; fields that are None are left out, booleans read yes or no."""
    spelled = {True: "yes", False: "no"}
    kept = {k: spelled[v] if isinstance(v, bool) else str(v) for k, v in fields.items() if v is not None}
    return Signature(metric, tuple(kept.items()), version)


@dataclass(frozen=True)
class Interval:
    """A confidence interval in the unit of the score."""

    low: float
    high: float
    level: float = 0.95
    method: str = "bootstrap"


@dataclass(frozen=True)
class Score:
    """One number with all that is needed to read it.

    Attributes:
        name: column heading, for example ``PPL``.
        value: the number in ``unit``.
        unit: ``nats``, ``bits``, ``%``, ``count`` or ``1`` for a ratio.
        direction: which way is better, None where neither is.
        n: number of texts scored.
        signature: long form of the signature.
        tolerance: relative change that a regression check lets pass.
        interval: over texts, None where the statistic has none.
    """

    name: str
    value: float
    unit: str
    direction: Direction | None
    n: int
    signature: str
    tolerance: float = 0.0
    interval: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the score as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        """Reads what ``as_dict`` wrote."""
        interval = data.get("interval")
        return cls(**{**data, "interval": Interval(**interval) if interval else None})


class Metric(ABC, Generic[InputT]):
    """A named, versioned way from inputs to one score.

    Implement ``signature`` and ``score``; or subclass ``PerTextMetric`` and implement ``statistics`` and
    ``aggregate``, and get intervals and paired tests with it.
    """

    name: str
    version: ClassVar[int]
    unit: ClassVar[str]
    direction: ClassVar[Direction | None]
    tolerance: ClassVar[float] = 0.02

    def supports(self, inputs: InputT) -> str | None:
        """Returns None if the metric applies to these inputs, else the reason why the cell stays empty."""
        return None

    def require(self, inputs: InputT) -> None:
        """Checks that the metric applies to these inputs.

        Raises:
            BenchError: it does not; the message is the reason.
        """
        if reason := self.supports(inputs):
            raise BenchError(f"{self.name}: {reason}")

    @abstractmethod
    def signature(self, inputs: InputT) -> Signature:
        """Returns the signature of the number ``score`` would give for these inputs."""

    @abstractmethod
    def score(self, inputs: InputT, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the score; with ``bootstrap`` also its interval over texts, where the statistic has one."""

    def _score(self, inputs: InputT, value: float, n: int, interval: Interval | None = None) -> Score:
        return Score(
            name=self.name,
            value=float(value),
            unit=self.unit,
            direction=self.direction,
            n=n,
            signature=str(self.signature(inputs)),
            tolerance=self.tolerance,
            interval=interval,
        )


class PerTextMetric(Metric[InputT]):
    """A metric that is a function of the means of per-text statistics."""

    @abstractmethod
    def statistics(self, inputs: InputT) -> Array:
        """Returns the sufficient statistics, one row per text (texts x columns)."""

    @abstractmethod
    def aggregate(self, means: Array, n: int) -> Array:
        """Returns the value for column means (... x columns) over ``n`` texts; leading axes are bootstrap samples."""

    def cluster_size(self, inputs: InputT) -> int:
        """Returns how many rows in a row depend on each other, and are therefore resampled as one."""
        return 1

    def score(self, inputs: InputT, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the score and, with ``bootstrap``, its percentile interval over texts."""
        rows = np.asarray(self.statistics(inputs), dtype=np.float64)
        value = float(self.aggregate(rows.mean(axis=0), len(rows)))
        size = self.cluster_size(inputs)
        enough = bootstrap is not None and len(rows) > size
        interval = bootstrap.interval(rows, self.aggregate, size) if bootstrap is not None and enough else None
        return self._score(inputs, value, len(rows), interval)


@dataclass(frozen=True)
class Bootstrap:
    """Resampling over texts: settings and seed of every interval and paired test.

    Attributes:
        samples: number of resamples.
        seed: seed of the resampling; the same seed resamples the same texts for two systems (a paired test).
        level: coverage of the percentile interval.
    """

    samples: int = 1000
    seed: int = 12345
    level: float = 0.95

    def means(self, rows: Array, cluster_size: int = 1) -> Array:
        """Returns resampled column means (samples x columns).

        A resample is a multinomial count per text (or cluster of so many texts in a row, the last perhaps of fewer),
        so one matrix product replaces an index per draw. The product is made in blocks to bound memory at 100 x texts.
        """
        starts = np.arange(0, len(rows), cluster_size)
        sums, sizes = np.add.reduceat(rows, starts), np.diff(starts, append=len(rows))
        n = len(starts)
        rng = np.random.Generator(np.random.PCG64(self.seed))
        p = np.full(n, 1.0 / n)
        blocks = [min(100, self.samples - start) for start in range(0, self.samples, 100)]
        counts = (rng.multinomial(n, p, size=size) for size in blocks)
        return np.concatenate([count @ sums / (count @ sizes)[:, None] for count in counts])

    def interval(self, rows: Array, aggregate: Callable[[Array, int], Array], cluster_size: int = 1) -> Interval:
        """Returns the percentile interval of ``aggregate`` over resampled texts, or clusters of texts."""
        values = aggregate(self.means(rows, cluster_size), len(rows))
        tail = 50.0 * (1.0 - self.level)
        low, high = np.percentile(values, [tail, 100.0 - tail])
        clusters = f":clusters-of-{cluster_size}" if cluster_size > 1 else ""
        return Interval(float(low), float(high), self.level, f"bootstrap:{self.samples}:{self.seed}{clusters}")


@dataclass(frozen=True)
class PairedResult:
    """Difference of two systems on the same texts (first minus second) with its interval and p-value."""

    difference: float
    interval: Interval
    p_value: float


def paired_bootstrap(
    metric: PerTextMetric[InputT], first: Array, second: Array, bootstrap: Bootstrap | None = None
) -> PairedResult:
    """Compares two systems on the same texts by resampling the texts jointly.

    The two-sided p-value counts resamples whose centred difference is at least as far from zero as the observed one;
    one is added above and below, so that it is never exactly zero.

    Raises:
        BenchError: the two statistics do not have the same shape, so they are not over the same texts.
    """
    if first.shape != second.shape:
        raise BenchError(f"paired test of {metric.name}: statistics differ in shape, {first.shape} and {second.shape}")
    bootstrap = bootstrap or Bootstrap()
    columns = first.shape[1]
    both = np.concatenate([first, second], axis=1)

    def difference(means: Array, n: int) -> Array:
        return metric.aggregate(means[..., :columns], n) - metric.aggregate(means[..., columns:], n)

    scores = [float(metric.aggregate(rows.mean(axis=0), len(rows))) for rows in (first, second)]
    observed = scores[0] - scores[1]
    resampled = difference(bootstrap.means(both), len(both))
    # Many resamples of a discrete statistic lie exactly as far out as the observed difference. Rounding, which is
    # relative to the scores, must not decide whether they count.
    rounding = 1e-12 * max(map(abs, scores))
    extreme = int(np.sum(np.abs(resampled - observed) >= abs(observed) - rounding))
    return PairedResult(observed, bootstrap.interval(both, difference), (extreme + 1) / (bootstrap.samples + 1))

"""What a number is: a metric turns per-text statistics into a score that carries its signature.

The statistics of a per-text metric are a matrix (texts x columns). The metric itself is a function of the column
MEANS, so a bootstrap over texts needs no second run: resampled means go through the same function. This module
imports neither torch nor any model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from bench.bootstrap import Array, Bootstrap, Interval
from bench.errors import BenchError

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

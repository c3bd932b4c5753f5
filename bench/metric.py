"""Metrics and scores: a metric turns its inputs into a score that carries its signature.

The statistics of a per-text metric are a matrix (texts x columns), and its value is a function of the column MEANS. A
bootstrap over texts applies that function to resampled means, without a second run. This module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array, Bootstrap, Interval
from bench.errors import BenchError

Direction = Literal["up", "down"]
InputT = TypeVar("InputT")


@dataclass(frozen=True)
class Signature:
    """The arithmetic that a number comes from. Two signatures never share a table column unless a user asks for it.

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

    @classmethod
    def of(cls, metric: str, version: int, fields: Mapping[str, object]) -> Signature:
        """Returns a signature; fields that are None are left out, booleans read yes or no."""
        words = {True: "yes", False: "no"}
        given = {key: value for key, value in fields.items() if value is not None}
        spelled = ((key, words[value] if isinstance(value, bool) else str(value)) for key, value in given.items())
        return cls(metric, tuple(spelled), version)

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


@dataclass(frozen=True)
class Score:
    """One number with everything that is needed to read it.

    Attributes:
        name: column heading, for example ``PPL``.
        value: the number in ``unit``.
        unit: ``nats``, ``bits``, ``%``, ``count`` or ``1`` for a ratio.
        direction: the better direction, None where neither is better.
        n: number of texts scored.
        signature: long form of the signature.
        tolerance: relative change that a regression check accepts.
        interval: over texts, None where the statistic has none.
        absolute_tolerance: change in ``unit`` that a regression check accepts, however large it is relative to the
            value; above 0 for metrics that may come close to zero.
    """

    name: str
    value: float
    unit: str
    direction: Direction | None
    n: int
    signature: str
    tolerance: float = 0.0
    interval: Interval | None = None
    absolute_tolerance: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Returns the score as JSON-ready values."""
        return asdict(self)


class Metric(ABC, Generic[InputT]):
    """A named, versioned computation of one score.

    Implement ``fields`` and ``score``; or subclass ``PerTextMetric``, which adds intervals and paired tests, and
    implement ``fields`` and ``statistics``.

    Class attributes:
        version: of the arithmetic; raise it whenever the value on the same input changes.
        unit: see ``Score``.
        tolerance: see ``Score``.
        absolute_tolerance: see ``Score``.
    """

    version: ClassVar[int] = 1
    unit: ClassVar[str]
    tolerance: ClassVar[float] = 0.02
    absolute_tolerance: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def name(self) -> str:
        """Column heading, and the name in the registry."""

    @property
    @abstractmethod
    def direction(self) -> Direction | None:
        """The better direction, None where neither is better."""

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
    def fields(self, inputs: InputT) -> Mapping[str, object]:
        """Returns the fields of the signature, in order: every setting that changes the value; None leaves one out."""

    def signature(self, inputs: InputT) -> Signature:
        """Returns the signature of the score of these inputs."""
        return Signature.of(self.name, self.version, self.fields(inputs))

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
            absolute_tolerance=self.absolute_tolerance,
        )


class PerTextMetric(Metric[InputT]):
    """A metric that is a function of the means of per-text statistics: by default the mean of their only column."""

    @abstractmethod
    def statistics(self, inputs: InputT) -> Array:
        """Returns the sufficient statistics, one row per text (texts x columns); fractions where the unit is ``%``."""

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns the value for column means (... x columns) over ``n`` texts; leading axes are bootstrap resamples."""
        mean: Array = means[..., 0]
        return 100.0 * mean if self.unit == "%" else mean

    def cluster_size(self, inputs: InputT) -> int:
        """Returns how many consecutive rows depend on each other, and are therefore resampled together."""
        return 1

    @override
    def score(self, inputs: InputT, bootstrap: Bootstrap | None = None) -> Score:
        self.require(inputs)
        rows = np.asarray(self.statistics(inputs), dtype=np.float64)
        value = float(self.aggregate(rows.mean(axis=0), len(rows)))
        interval = None if bootstrap is None else self.interval(inputs, rows, bootstrap)
        return self._score(inputs, value, len(rows), interval)

    def interval(self, inputs: InputT, rows: Array, bootstrap: Bootstrap) -> Interval | None:
        """Returns the interval over texts, None with too few of them; by default from resampled rows."""
        size = self.cluster_size(inputs)
        return bootstrap.interval(rows, self.aggregate, size) if len(rows) > size else None

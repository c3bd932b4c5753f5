"""The latent factors of texts: a joint distribution that is drawn from and conditioned on, but never listed whole.

The factors of one task may have millions of joint assignments (who, where, how old, what happened, ...). What a text
says leaves few of them: sets of values, one bit for each value of each factor, tell which assignments to list.

Shapes: A listed assignments, F factors, V values of a factor.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError, unknown_name

LogVector = npt.NDArray[np.float64]
"""One log weight per assignment (A)."""
Values = tuple[int, ...]
"""One assignment: the place of each factor's value among its values (F)."""


def normalised(weights: Iterable[float]) -> tuple[float, ...]:
    """Returns the weights divided by their total.

    Raises:
        BenchError: a weight is negative, or none is positive.
    """
    weights = tuple(weights)
    # Not sum(): it rounds differently from Python 3.12 on, and the same seed must draw the same texts everywhere.
    total = list(accumulate(weights))[-1] if weights else 0.0
    if not total > 0 or min(weights) < 0:
        raise BenchError(f"weights must be non-negative with a positive total: {list(weights)}")
    return tuple(weight / total for weight in weights)


def evenly(values: Iterable[str]) -> dict[str, float]:
    """Returns equal weights."""
    return dict.fromkeys(values, 1.0)


class Draw:
    """A categorical distribution to draw from; nothing but ``random.Random.random`` decides, on any machine alike."""

    def __init__(self, weights: Iterable[tuple[int, float]]) -> None:
        possible = [(outcome, weight) for outcome, weight in weights if weight > 0]
        self._outcomes = [outcome for outcome, _ in possible]
        self._cumulative = list(accumulate(weight for _, weight in possible))

    def __call__(self, rng: random.Random) -> int:
        """Returns an outcome; a certain one uses up no randomness."""
        return self._outcomes[0] if len(self._outcomes) == 1 else self.divide(rng.random())[0]

    def divide(self, point: float) -> tuple[int, float]:
        """Returns the outcome in whose share of [0, 1) a point lies, and how far into that share it lies."""
        point *= self._cumulative[-1]
        at = bisect_right(self._cumulative, point, 0, len(self._outcomes) - 1)
        start = self._cumulative[at - 1] if at else 0.0
        return self._outcomes[at], (point - start) / (self._cumulative[at] - start)


@dataclass(frozen=True)
class Factor:
    """A latent factor of the texts.

    Attributes:
        name: what the factor is called, for example ``topic``.
        weights: prior weight by value; with ``given``, by value of that factor and then by value.
        given: an earlier factor on which this one depends.
    """

    name: str
    weights: Mapping[str, float] | Mapping[str, Mapping[str, float]]
    given: str | None = None

    def prior(self, parents: Sequence[str]) -> dict[str, dict[str, float]]:
        """Returns p(value | value of the factor it depends on), without the impossible values.

        Args:
            parents: the values of the factor it depends on; one of any name, where there is none.

        Raises:
            BenchError: a value it depends on has no weights.
        """
        tables: Mapping[str, Any] = dict.fromkeys(parents, self.weights) if self.given is None else self.weights
        prior = {}
        for parent in parents:
            if parent not in tables:
                raise BenchError(f"factor {self.name!r} has no weights given {self.given} {parent!r}")
            table = zip(tables[parent], normalised(tables[parent].values()), strict=True)
            prior[parent] = {value: p for value, p in table if p > 0}
        return prior


@dataclass(frozen=True)
class Assignments:
    """Some joint assignments of the factors, with their prior.

    Attributes:
        values: the place of each factor's value among its values (A x F).
        log_prior: log p of each assignment (A).
    """

    values: npt.NDArray[np.intp]
    log_prior: LogVector


class Factors:
    """The joint distribution of a grammar's factors.

    A set of values is an integer with one bit for each value of each factor. It stands for all assignments that take
    every value from the set.

    Attributes:
        names: names of the factors (F).
        everything: the set of all values.
    """

    def __init__(self, factors: Iterable[Factor]) -> None:
        self.names: tuple[str, ...] = ()
        self.everything = 0
        self._values: list[tuple[str, ...]] = []
        self._parents: list[int | None] = []
        self._draws: list[list[Draw]] = []
        self._log_prior: list[npt.NDArray[np.float64]] = []
        self._sets: list[int] = []
        self._first_bits: list[int] = []
        for factor in factors:
            self._append(factor)

    def _append(self, factor: Factor) -> None:
        if factor.given is not None and factor.given not in self.names:
            raise unknown_name("earlier factor", factor.given, self.names)
        parent = None if factor.given is None else self.names.index(factor.given)
        prior = factor.prior(("",) if parent is None else self._values[parent])
        values = tuple(dict.fromkeys(value for table in prior.values() for value in table))
        rows = [[table.get(value, 0.0) for value in values] for table in prior.values()]
        draws = [Draw((values.index(value), p) for value, p in table.items()) for table in prior.values()]
        self.names += (factor.name,)
        self._values.append(values)
        self._parents.append(parent)
        self._draws.append(draws)
        with np.errstate(divide="ignore"):
            self._log_prior.append(np.log(rows))
        self._first_bits.append(self.everything.bit_length())
        self._sets.append(((1 << len(values)) - 1) << self._first_bits[-1])
        self.everything |= self._sets[-1]

    def place(self, name: str) -> int:
        """Returns the place of a factor among the factors.

        Raises:
            BenchError: there is no such factor.
        """
        if name not in self.names:
            raise unknown_name("factor", name, self.names)
        return self.names.index(name)

    def values(self, name: str) -> tuple[str, ...]:
        """Returns the values of a factor (V), in the order in which they were first defined."""
        return self._values[self.place(name)]

    def named(self, values: Sequence[int]) -> tuple[str, ...]:
        """Returns the names of the values of an assignment (F)."""
        return tuple(names[value] for names, value in zip(self._values, values, strict=True))

    def draw(self, rng: random.Random) -> Values:
        """Returns an assignment; a single random number decides it, by halving the unit interval ever further."""
        point = rng.random()
        values: Values = ()
        for parent, draws in zip(self._parents, self._draws, strict=True):
            value, point = draws[0 if parent is None else values[parent]].divide(point)
            values += (value,)
        return values

    def restricted(self, place: int, values: Iterable[int]) -> int:
        """Returns the set of all values, of one factor only those given."""
        kept = sum(1 << (self._first_bits[place] + value) for value in values)
        return self.everything & ~self._sets[place] | kept

    def contradictory(self, values: int) -> bool:
        """Returns whether a set of values leaves a factor none, and so stands for no assignment."""
        return not all(values & own for own in self._sets)

    def listed(self, values: int) -> Assignments:
        """Returns the possible assignments that a set of values stands for."""
        listed = np.zeros((1, 0), dtype=np.intp)
        log_prior = np.zeros(1)
        for place, (parent, table) in enumerate(zip(self._parents, self._log_prior, strict=True)):
            own = values >> self._first_bits[place]
            allowed = np.array([value for value in range(table.shape[1]) if own >> value & 1], dtype=np.intp)
            rows = np.zeros(len(listed), dtype=np.intp) if parent is None else listed[:, parent]
            extended = log_prior[:, None] + table[rows][:, allowed]
            kept, chosen = np.nonzero(extended > -np.inf)
            listed = np.column_stack([listed[kept], allowed[chosen]])
            log_prior = extended[kept, chosen]
        return Assignments(listed, log_prior)

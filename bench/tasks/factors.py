"""The latent factors of texts: their joint distribution, to draw from and to condition on, without enumerating it.

The factors of one task may have millions of joint assignments (who, where, how old, what happened, ...), and a text is
possible under few of them. Sets of values, one bit for each value of each factor, select the assignments to enumerate.

Shapes: A enumerated assignments, F factors, V values of a factor.
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
Assignment = tuple[int, ...]
"""The index of each factor's value among its values (F)."""


def normalise(weights: Iterable[float]) -> tuple[float, ...]:
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


def uniform(values: Iterable[str]) -> dict[str, float]:
    """Returns a weight of 1 for each value."""
    return dict.fromkeys(values, 1.0)


class Categorical:
    """A categorical distribution; draws use only ``random.Random.random``, so they are the same on every machine."""

    def __init__(self, weights: Iterable[tuple[int, float]]) -> None:
        possible = [(outcome, weight) for outcome, weight in weights if weight > 0]
        self._outcomes = [outcome for outcome, _ in possible]
        self._cumulative = list(accumulate(weight for _, weight in possible))

    def __call__(self, rng: random.Random) -> int:
        """Draws an outcome; a certain outcome uses no random number."""
        return self._outcomes[0] if len(self._outcomes) == 1 else self.locate(rng.random())[0]

    def locate(self, point: float) -> tuple[int, float]:
        """Returns the outcome at a point of [0, 1), and the position of the point inside its interval, in [0, 1)."""
        point *= self._cumulative[-1]
        index = bisect_right(self._cumulative, point, 0, len(self._outcomes) - 1)
        start = self._cumulative[index - 1] if index else 0.0
        return self._outcomes[index], (point - start) / (self._cumulative[index] - start)


@dataclass(frozen=True)
class Factor:
    """A latent factor of the texts.

    Attributes:
        name: for example ``topic``.
        weights: prior weight by value; with a parent, by the parent's value and then by value.
        given: the parent: an earlier factor that this one depends on.
    """

    name: str
    weights: Mapping[str, float] | Mapping[str, Mapping[str, float]]
    given: str | None = None

    def prior(self, parents: Sequence[str]) -> dict[str, dict[str, float]]:
        """Returns p(value | value of the parent), without the impossible values.

        Args:
            parents: the values of the parent; any single string if there is no parent.

        Raises:
            BenchError: a value of the parent has no weights.
        """
        tables: Mapping[str, Any] = dict.fromkeys(parents, self.weights) if self.given is None else self.weights
        prior = {}
        for parent in parents:
            if parent not in tables:
                raise BenchError(f"factor {self.name!r} has no weights given {self.given} {parent!r}")
            table = zip(tables[parent], normalise(tables[parent].values()), strict=True)
            prior[parent] = {value: p for value, p in table if p > 0}
        return prior


@dataclass(frozen=True)
class Assignments:
    """Some joint assignments of the factors, with their prior.

    Attributes:
        values: the index of each factor's value among its values (A x F).
        log_prior: log p of each assignment (A).
    """

    values: npt.NDArray[np.intp]
    log_prior: LogVector


class Factors:
    """The joint distribution of a grammar's factors.

    A set of values is an integer with one bit for each value of each factor. It stands for all assignments whose values
    are all in the set.

    Attributes:
        names: names of the factors (F).
        all_values: the set of all values.
    """

    def __init__(self, factors: Iterable[Factor]) -> None:
        self.names: tuple[str, ...] = ()
        self.all_values = 0
        self._values: list[tuple[str, ...]] = []
        self._parents: list[int | None] = []
        self._draws: list[list[Categorical]] = []
        self._log_prior: list[npt.NDArray[np.float64]] = []
        self._sets: list[int] = []
        self._first_bits: list[int] = []
        for factor in factors:
            if factor.given is not None and factor.given not in self.names:
                raise unknown_name("earlier factor", factor.given, self.names)
            parent = None if factor.given is None else self.names.index(factor.given)
            prior = factor.prior(("",) if parent is None else self._values[parent])
            values = tuple(dict.fromkeys(value for table in prior.values() for value in table))
            rows = [[table.get(value, 0.0) for value in values] for table in prior.values()]
            draws = [Categorical((values.index(value), p) for value, p in table.items()) for table in prior.values()]
            self.names += (factor.name,)
            self._values.append(values)
            self._parents.append(parent)
            self._draws.append(draws)
            with np.errstate(divide="ignore"):
                self._log_prior.append(np.log(rows))
            self._first_bits.append(self.all_values.bit_length())
            self._sets.append(((1 << len(values)) - 1) << self._first_bits[-1])
            self.all_values |= self._sets[-1]

    def index(self, name: str) -> int:
        """Returns the index of a factor among the factors.

        Raises:
            BenchError: the factor is unknown.
        """
        if name not in self.names:
            raise unknown_name("factor", name, self.names)
        return self.names.index(name)

    def values(self, name: str) -> tuple[str, ...]:
        """Returns the values of a factor (V), in the order in which they were first defined."""
        return self._values[self.index(name)]

    def value_names(self, assignment: Sequence[int]) -> tuple[str, ...]:
        """Returns the names of the values of an assignment (F)."""
        return tuple(names[value] for names, value in zip(self._values, assignment, strict=True))

    def draw(self, rng: random.Random) -> Assignment:
        """Draws an assignment from a single random number: each factor divides the interval of the one before."""
        point = rng.random()
        assignment: Assignment = ()
        for parent, draws in zip(self._parents, self._draws, strict=True):
            value, point = draws[0 if parent is None else assignment[parent]].locate(point)
            assignment += (value,)
        return assignment

    def restrict(self, factor: int, values: Iterable[int]) -> int:
        """Returns the set of the given values of one factor and all values of the others."""
        bits = sum(1 << (self._first_bits[factor] + value) for value in values)
        return self.all_values & ~self._sets[factor] | bits

    def is_empty(self, values: int) -> bool:
        """Returns whether a set has no value of some factor, and so stands for no assignment."""
        return not all(values & own for own in self._sets)

    def assignments(self, values: int) -> Assignments:
        """Enumerates the possible assignments that a set of values stands for."""
        assignments = np.zeros((1, 0), dtype=np.intp)
        log_prior = np.zeros(1)
        for factor, (parent, table) in enumerate(zip(self._parents, self._log_prior, strict=True)):
            bits = values >> self._first_bits[factor]
            allowed = np.array([value for value in range(table.shape[1]) if bits >> value & 1], dtype=np.intp)
            rows = np.zeros(len(assignments), dtype=np.intp) if parent is None else assignments[:, parent]
            extended = log_prior[:, None] + table[rows][:, allowed]
            previous, column = np.nonzero(extended > -np.inf)
            assignments = np.column_stack([assignments[previous], allowed[column]])
            log_prior = extended[previous, column]
        return Assignments(assignments, log_prior)

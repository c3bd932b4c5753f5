"""Weighted, acyclic grammars over latent factors: one definition draws texts or pairs and scores them exactly.

A grammar draws an assignment f of its factors from p(f), then a text x by choices with weights that may depend on f.
The source and the target of a pair are independent given f. The same choices give p(x | f) by dynamic programming: a
chart stores, for every node and start position, the value of the node's derivations by their end position. So no
derivation is enumerated, and

    p(x) = sum_f p(f) p(x | f),    p(target | source) = sum_f p(f) p(source | f) p(target | f) / p(source)

are exact. A text is scored with two charts: the first computes with sets of factor values and finds the assignments
under which the text is possible, the second computes log p(x | f) for these. A text is words joined by single spaces.

Shapes: A assignments under which a text is possible, K alternatives of a choice, R rows of weights of a choice.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from bench.errors import BenchError
from bench.tasks.data import Example
from bench.tasks.factors import Assignment, Assignments, Categorical, Factors, LogVector, normalise

Value = TypeVar("Value")
"""The value of derivations in a chart: an element of a semiring."""


class Node(ABC):
    """A part of a grammar: a distribution over word sequences for every assignment of the factors."""

    first: frozenset[str]
    """The possible first words of its non-empty sequences."""
    nullable: bool
    """Whether it can draw no words."""

    @abstractmethod
    def emit(self, assignment: Assignment, rng: random.Random, words: list[str]) -> None:
        """Draws words under an assignment and appends them to ``words``."""

    @abstractmethod
    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        """Returns the value of its derivations that begin at word ``start``, by their end position."""


class Words(Node):
    """A fixed sequence of words, which may be empty."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self.first = frozenset(self.words[:1])
        self.nullable = not self.words

    @override
    def emit(self, assignment: Assignment, rng: random.Random, words: list[str]) -> None:
        words.extend(self.words)

    @override
    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        end = start + len(self.words)
        return {end: chart.semiring.one} if chart.words[start:end] == self.words else {}


class Concatenation(Node):
    """Parts in order."""

    def __init__(self, parts: Iterable[Node]) -> None:
        self.parts = tuple(parts)
        self.nullable = all(part.nullable for part in self.parts)
        required = next((i for i, part in enumerate(self.parts) if not part.nullable), len(self.parts))
        self.first = frozenset().union(*(part.first for part in self.parts[: required + 1]))

    @override
    def emit(self, assignment: Assignment, rng: random.Random, words: list[str]) -> None:
        for part in self.parts:
            part.emit(assignment, rng, words)

    @override
    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        ends = {start: chart.semiring.one}
        for part in self.parts:
            extended: dict[int, Value] = {}
            for end, value in ends.items():
                chart.add_products(extended, value, chart.ends(part, end))
            ends = extended
        return ends


class Choice(Node):
    """One of several alternatives, with probabilities that may depend on a factor.

    Attributes:
        alternatives: the alternatives (K).
        weights: their probabilities, one row for each value of the factor, or a single row (R x K).
        factor: index of the factor that selects the row, or None.
    """

    def __init__(
        self, alternatives: Iterable[Node], weights: Iterable[Iterable[float]], factor: int | None = None
    ) -> None:
        self.alternatives = tuple(alternatives)
        self.weights = tuple(map(normalise, weights))
        self.factor = factor
        if any(len(row) != len(self.alternatives) for row in self.weights):
            raise BenchError(f"a choice of {len(self.alternatives)} alternatives needs as many weights in every row")
        self.first = frozenset().union(*(alternative.first for alternative in self.alternatives))
        self.nullable = any(alternative.nullable for alternative in self.alternatives)

    @override
    def emit(self, assignment: Assignment, rng: random.Random, words: list[str]) -> None:
        row = 0 if self.factor is None else assignment[self.factor]
        self.alternatives[self._draws[row](rng)].emit(assignment, rng, words)

    @override
    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        word = chart.words[start] if start < len(chart.words) else None
        candidates = self._by_first.get(word, self._by_first[None])
        ends: dict[int, Value] = {}
        if candidates:
            weights = chart.semiring.weights(self)
            for k in candidates:
                if k in weights:
                    chart.add_products(ends, weights[k], chart.ends(self.alternatives[k], start))
        return ends

    @cached_property
    def log_weights(self) -> tuple[dict[int, float], ...]:
        """Log probability of each possible alternative, by row (R)."""
        return tuple({k: math.log(weight) for k, weight in enumerate(row) if weight > 0} for row in self.weights)

    @cached_property
    def _draws(self) -> tuple[Categorical, ...]:
        return tuple(Categorical(enumerate(row)) for row in self.weights)

    @cached_property
    def _by_first(self) -> dict[str | None, tuple[int, ...]]:
        """The alternatives that are possible before a word (None: any other): those it can begin, and nullable ones."""
        return {
            word: tuple(k for k, node in enumerate(self.alternatives) if node.nullable or word in node.first)
            for word in (*self.first, None)
        }


class Semiring(ABC, Generic[Value]):
    """How a chart combines the values of derivations."""

    one: Value
    """The value of a derivation of no words."""

    @abstractmethod
    def plus(self, left: Value, right: Value) -> Value:
        """Returns the value of two alternative derivations together."""

    @abstractmethod
    def times(self, left: Value, right: Value) -> Value | None:
        """Returns the value of one derivation followed by the other, or None if no assignment allows both."""

    @abstractmethod
    def weights(self, choice: Choice) -> Mapping[int, Value]:
        """Returns the value of each possible alternative of a choice."""


class ValueSets(Semiring[int]):
    """Sets of factor values (see ``Factors``) that some derivation allows; plus is union, times is intersection."""

    def __init__(self, factors: Factors) -> None:
        self.one = factors.all_values
        self._factors = factors
        self._weights: dict[Choice, dict[int, int]] = {}

    @override
    def plus(self, left: int, right: int) -> int:
        return left | right

    @override
    def times(self, left: int, right: int) -> int | None:
        both = left & right
        return both if both in (left, right) or not self._factors.is_empty(both) else None

    @override
    def weights(self, choice: Choice) -> Mapping[int, int]:
        if choice not in self._weights:
            self._weights[choice] = {k: self._under(choice, k) for k in set().union(*choice.log_weights)}
        return self._weights[choice]

    def _under(self, choice: Choice, k: int) -> int:
        if choice.factor is None:
            return self.one
        rows = [row for row, log_weights in enumerate(choice.log_weights) if k in log_weights]
        return self._factors.restrict(choice.factor, rows)


class LogWeights(Semiring["LogVector | float"]):
    """Log probabilities in nats under given assignments (A), or one float if it is the same under all of them."""

    one = 0.0

    def __init__(self, assignments: Assignments) -> None:
        # For each factor: the values that occur (R), and the index of each assignment's value among them (A).
        self._occurring = [np.unique(values, return_inverse=True) for values in assignments.values.T]
        self._weights: dict[Choice, dict[int, LogVector | float]] = {}

    @override
    def plus(self, left: LogVector | float, right: LogVector | float) -> LogVector | float:
        return np.logaddexp(left, right)

    @override
    def times(self, left: LogVector | float, right: LogVector | float) -> LogVector | float:
        return left + right

    @override
    def weights(self, choice: Choice) -> Mapping[int, LogVector | float]:
        if choice.factor is None:
            return choice.log_weights[0]
        values, row = self._occurring[choice.factor]
        if len(values) == 1:
            return choice.log_weights[values[0]]
        if choice not in self._weights:
            rows = [choice.log_weights[value] for value in values]
            self._weights[choice] = {
                k: np.array([log_weights.get(k, -np.inf) for log_weights in rows])[row] for k in set().union(*rows)
            }
        return self._weights[choice]


class Chart(Generic[Value]):
    """The values of the derivations of one text, each computed once.

    Attributes:
        words: the words of the text.
        semiring: combines values.
    """

    def __init__(self, words: Sequence[str], semiring: Semiring[Value]) -> None:
        self.words = tuple(words)
        self.semiring = semiring
        self._ends: dict[tuple[Node, int], dict[int, Value]] = {}

    def ends(self, node: Node, start: int) -> dict[int, Value]:
        """Returns ``node.ends`` at a start position."""
        key = (node, start)
        if key not in self._ends:
            self._ends[key] = node.ends(self, start)
        return self._ends[key]

    def add_products(self, sums: dict[int, Value], value: Value, ends: Mapping[int, Value]) -> None:
        """Adds ``value`` times the value of each end to ``sums``."""
        for end, factor in ends.items():
            product = self.semiring.times(value, factor)
            if product is not None:
                sums[end] = self.semiring.plus(sums[end], product) if end in sums else product

    def total(self, root: Node) -> Value | None:
        """Returns the value of all derivations of the whole text, or None if there is none."""
        return self.ends(root, 0).get(len(self.words))


class Grammar:
    """A distribution over texts, or over pairs of a source and a target, with latent factors.

    Attributes:
        factors: the latent factors.
        target: the root node of targets.
        source: the root node of sources, or None.
    """

    def __init__(self, factors: Factors, target: Node, source: Node | None = None) -> None:
        if target.nullable or (source is not None and source.nullable):
            raise BenchError("a grammar must not draw empty texts")
        self.factors = factors
        self.target = target
        self.source = source

    def draw(self, rng: random.Random) -> tuple[Example, tuple[str, ...]]:
        """Draws a text or pair; returns it with the names of its factor values."""
        assignment = self.factors.draw(rng)
        source = None if self.source is None else _draw_text(self.source, assignment, rng)
        return Example(_draw_text(self.target, assignment, rng), source), self.factors.value_names(assignment)

    def log_p(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Returns the exact log p(target), or log p(target | source), in nats, one per example.

        It is -inf if the grammar cannot draw the example.

        Raises:
            BenchError: an example has a source and the grammar has none.
        """
        return np.array(list(map(self._log_p, examples)), dtype=np.float64)

    def log_marginal(self, source: str | None = None, target: str | None = None) -> float:
        """Returns log p(source, target) in nats, or the marginal log p(source) or log p(target) if only one is given.

        Raises:
            BenchError: a source is given and the grammar has none.
        """
        if source is not None and self.source is None:
            raise BenchError("a source is given to a grammar that has none")
        given = [(self.source, source), (self.target, target)]
        texts = [(root, text.split(" ")) for root, text in given if root is not None and text is not None]
        if not texts:
            return 0.0
        possible = self.factors.all_values
        for root, words in texts:
            possible &= Chart(words, self._value_sets).total(root) or 0
        assignments = self.factors.assignments(possible)
        log_p = assignments.log_prior
        for root, words in texts:
            log_p = log_p + inside(root, words, assignments)
        return float(np.logaddexp.reduce(log_p))

    def _log_p(self, example: Example) -> float:
        joint = self.log_marginal(example.source, example.target)
        if example.source is None or joint == -np.inf:
            return joint
        return joint - self.log_marginal(example.source)

    @cached_property
    def _value_sets(self) -> ValueSets:
        return ValueSets(self.factors)


def inside(root: Node, words: Sequence[str], assignments: Assignments) -> LogVector:
    """Returns log p(words | assignment) in nats for each assignment (A); -inf where the words are impossible."""
    count = len(assignments.values)
    log_weight = Chart(words, LogWeights(assignments)).total(root) if count else None
    return np.full(count, -np.inf if log_weight is None else log_weight)


def _draw_text(root: Node, assignment: Assignment, rng: random.Random) -> str:
    words: list[str] = []
    root.emit(assignment, rng, words)
    return " ".join(words)

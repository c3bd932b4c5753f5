"""Weighted, acyclic text grammars over latent factors: one definition draws texts or pairs and scores them exactly.

A grammar first draws an assignment f of its factors from p(f), then a text x by choices whose weights may depend on f;
for a pair, first the source and then the target, which have only the factors in common. The same choices give p(x | f)
by dynamic programming: a chart holds, for every node and every position where it can begin, the value of its
derivations by the position where they end. So ambiguity costs no enumeration, and

    p(x) = sum_f p(f) p(x | f),    p(target | source) = sum_f p(f) p(source | f) p(target | f) / p(source)

are exact. A chart is filled twice: with sets of factor values, which tell the assignments under which the text is
possible at all, and then with log weights under those alone. A text is its words joined by single spaces.

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

from bench.errors import BenchError
from bench.tasks.data import Example
from bench.tasks.factors import Assignments, Draw, Factors, LogVector, Values, normalised

Value = TypeVar("Value")
"""What a chart holds of derivations."""


class Node(ABC):
    """A part of a grammar: a distribution over word sequences for every assignment of the factors."""

    first: frozenset[str]
    """Words that its non-empty sequences can begin with."""
    nullable: bool
    """Whether it may be empty."""

    @abstractmethod
    def emit(self, values: Values, rng: random.Random, words: list[str]) -> None:
        """Draws a sequence under an assignment and appends it to ``words``."""

    @abstractmethod
    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        """Returns the value of its derivations of the words from ``start`` on, by the position where they end."""


class Words(Node):
    """A fixed sequence of words, perhaps empty."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self.first = frozenset(self.words[:1])
        self.nullable = not self.words

    def emit(self, values: Values, rng: random.Random, words: list[str]) -> None:
        """Appends the words."""
        words.extend(self.words)

    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        """Returns the one end, if the words stand there."""
        end = start + len(self.words)
        return {end: chart.algebra.one} if chart.words[start:end] == self.words else {}


class Series(Node):
    """Parts one after another."""

    def __init__(self, parts: Iterable[Node]) -> None:
        self.parts = tuple(parts)
        self.nullable = all(part.nullable for part in self.parts)
        opening = next((at for at, part in enumerate(self.parts) if not part.nullable), len(self.parts))
        self.first = frozenset().union(*(part.first for part in self.parts[: opening + 1]))

    def emit(self, values: Values, rng: random.Random, words: list[str]) -> None:
        """Appends a draw of every part."""
        for part in self.parts:
            part.emit(values, rng, words)

    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        """Sums over all ways to divide the words among the parts."""
        reached = {start: chart.algebra.one}
        for part in self.parts:
            after: dict[int, Value] = {}
            for at, value in reached.items():
                chart.extend(after, value, chart.ends(part, at))
            reached = after
        return reached


class Choice(Node):
    """One of several alternatives, with weights that may depend on a factor.

    Attributes:
        alternatives: what is chosen from (K).
        weights: probabilities, one row for each value of the factor, or a single row (R x K).
        factor: place of the factor that decides the row, or None.
    """

    def __init__(
        self, alternatives: Iterable[Node], weights: Iterable[Iterable[float]], factor: int | None = None
    ) -> None:
        self.alternatives = tuple(alternatives)
        self.weights = tuple(map(normalised, weights))
        self.factor = factor
        if any(len(row) != len(self.alternatives) for row in self.weights):
            raise BenchError(f"a choice of {len(self.alternatives)} alternatives needs as many weights in every row")
        self.first = frozenset().union(*(alternative.first for alternative in self.alternatives))
        self.nullable = any(alternative.nullable for alternative in self.alternatives)

    def emit(self, values: Values, rng: random.Random, words: list[str]) -> None:
        """Appends a draw of one alternative."""
        row = 0 if self.factor is None else values[self.factor]
        self.alternatives[self._draws[row](rng)].emit(values, rng, words)

    def ends(self, chart: Chart[Value], start: int) -> dict[int, Value]:
        """Sums over the alternatives, each weighted."""
        candidates = self._nullable
        if start < len(chart.words):
            candidates = self._by_first.get(chart.words[start], candidates)
        found: dict[int, Value] = {}
        if candidates:
            weights = chart.algebra.weights(self)
            for k in candidates:
                if k in weights:
                    chart.extend(found, weights[k], chart.ends(self.alternatives[k], start))
        return found

    @cached_property
    def log_weights(self) -> tuple[dict[int, float], ...]:
        """Log probability of each possible alternative, by row (R)."""
        return tuple({k: math.log(weight) for k, weight in enumerate(row) if weight > 0} for row in self.weights)

    @cached_property
    def _draws(self) -> tuple[Draw, ...]:
        return tuple(Draw(enumerate(row)) for row in self.weights)

    @cached_property
    def _nullable(self) -> tuple[int, ...]:
        return tuple(k for k, alternative in enumerate(self.alternatives) if alternative.nullable)

    @cached_property
    def _by_first(self) -> dict[str, tuple[int, ...]]:
        """Alternatives worth trying before a word: those it can begin, and the nullable ones."""
        return {
            word: tuple(k for k, node in enumerate(self.alternatives) if node.nullable or word in node.first)
            for word in self.first
        }


class Algebra(ABC, Generic[Value]):
    """How a chart computes with the values of derivations: a semiring."""

    one: Value
    """The value of writing nothing."""

    @abstractmethod
    def plus(self, left: Value, right: Value) -> Value:
        """Returns the value of either derivation."""

    @abstractmethod
    def times(self, left: Value, right: Value) -> Value | None:
        """Returns the value of one derivation followed by another, or None if they exclude each other."""

    @abstractmethod
    def weights(self, choice: Choice) -> Mapping[int, Value]:
        """Returns the value of choosing each alternative, without the impossible ones."""


class ValueSets(Algebra[int]):
    """Sets of factor values (see ``Factors``): those that are possible in some derivation, whatever the others are."""

    def __init__(self, factors: Factors) -> None:
        self.one = factors.everything
        self._factors = factors
        self._weights: dict[Choice, dict[int, int]] = {}

    def plus(self, left: int, right: int) -> int:
        """Returns the union."""
        return left | right

    def times(self, left: int, right: int) -> int | None:
        """Returns the intersection."""
        both = left & right
        return both if both in (left, right) or not self._factors.contradictory(both) else None

    def weights(self, choice: Choice) -> Mapping[int, int]:
        """Returns the values under which each alternative has positive weight."""
        if choice not in self._weights:
            self._weights[choice] = {k: self._under(choice, k) for k in set().union(*choice.log_weights)}
        return self._weights[choice]

    def _under(self, choice: Choice, k: int) -> int:
        if choice.factor is None:
            return self.one
        rows = [row for row, log_weights in enumerate(choice.log_weights) if k in log_weights]
        return self._factors.restricted(choice.factor, rows)


class LogWeights(Algebra["LogVector | float"]):
    """Log weights in nats under given assignments (A); a float where it is the same under all of them."""

    one = 0.0

    def __init__(self, assignments: Assignments) -> None:
        # Of each factor the values that occur (R), and which of them each assignment has (A).
        self._occurring = [np.unique(values, return_inverse=True) for values in assignments.values.T]
        self._weights: dict[Choice, dict[int, LogVector | float]] = {}

    def plus(self, left: LogVector | float, right: LogVector | float) -> LogVector | float:
        """Returns the log of the sum."""
        return np.logaddexp(left, right)

    def times(self, left: LogVector | float, right: LogVector | float) -> LogVector | float:
        """Returns the log of the product."""
        return left + right

    def weights(self, choice: Choice) -> Mapping[int, LogVector | float]:
        """Returns the log probability of each alternative under the assignments."""
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
    """What is known about one text: every question is answered once.

    Attributes:
        words: the words of the text.
        algebra: how to compute with the values of derivations.
    """

    def __init__(self, words: Sequence[str], algebra: Algebra[Value]) -> None:
        self.words = tuple(words)
        self.algebra = algebra
        self._ends: dict[tuple[Node, int], dict[int, Value]] = {}

    def ends(self, node: Node, start: int) -> dict[int, Value]:
        """Returns ``node.ends`` at a position."""
        key = (node, start)
        if key not in self._ends:
            self._ends[key] = node.ends(self, start)
        return self._ends[key]

    def extend(self, found: dict[int, Value], value: Value, ends: Mapping[int, Value]) -> None:
        """Adds to ``found`` the value of every end when it follows ``value``."""
        for end, more in ends.items():
            product = self.algebra.times(value, more)
            if product is not None:
                found[end] = self.algebra.plus(found[end], product) if end in found else product

    def whole(self, root: Node) -> Value | None:
        """Returns the value of all derivations of the whole text, or None if it has none."""
        return self.ends(root, 0).get(len(self.words))


class Grammar:
    """A distribution over texts, or over pairs of a source and a target, with latent factors.

    Attributes:
        factors: the latent factors.
        target: the node of a whole text.
        source: the node of the text that the target is conditioned on, or None.
    """

    def __init__(self, factors: Factors, target: Node, source: Node | None = None) -> None:
        if target.nullable or (source is not None and source.nullable):
            raise BenchError("a grammar must not draw empty texts")
        self.factors = factors
        self.target = target
        self.source = source

    def draw(self, rng: random.Random) -> tuple[Example, tuple[str, ...]]:
        """Returns a text or pair, and the value of each factor it was drawn under."""
        values = self.factors.draw(rng)
        source = None if self.source is None else _drawn(self.source, values, rng)
        return Example(_drawn(self.target, values, rng), source), self.factors.named(values)

    def log_p(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Returns the exact log p(target), or log p(target | source), in nats, one per example.

        It is -inf where the target, the source or the two together cannot be drawn.

        Raises:
            BenchError: an example has a source and the grammar has none.
        """
        return np.array(list(map(self._log_p, examples)), dtype=np.float64)

    def evidence(self, source: str | None = None, target: str | None = None) -> float:
        """Returns log p(source, target) in nats, or log p of the one that is given, the other being summed out.

        Raises:
            BenchError: a source is given and the grammar has none.
        """
        if source is not None and self.source is None:
            raise BenchError("a source is given to a grammar that has none")
        given = [(self.source, source), (self.target, target)]
        texts = [(root, text.split(" ")) for root, text in given if root is not None and text is not None]
        if not texts:
            return 0.0
        possible = self.factors.everything
        for root, words in texts:
            possible &= Chart(words, self._value_sets).whole(root) or 0
        assignments = self.factors.listed(possible)
        log_p = assignments.log_prior
        for root, words in texts:
            log_p = log_p + inside(root, words, assignments)
        return float(np.logaddexp.reduce(log_p))

    def _log_p(self, example: Example) -> float:
        joint = self.evidence(example.source, example.target)
        if example.source is None or joint == -np.inf:
            return joint
        return joint - self.evidence(example.source)

    @cached_property
    def _value_sets(self) -> ValueSets:
        return ValueSets(self.factors)


def inside(root: Node, words: Sequence[str], assignments: Assignments) -> LogVector:
    """Returns log p(words | assignment) in nats under each of some assignments (A); -inf where it is impossible."""
    inside = np.full(len(assignments.values), -np.inf)
    if len(inside):
        log_weight = Chart(words, LogWeights(assignments)).whole(root)
        if log_weight is not None:
            inside[:] = log_weight
    return inside


def _drawn(root: Node, values: Values, rng: random.Random) -> str:
    words: list[str] = []
    root.emit(values, rng, words)
    return " ".join(words)

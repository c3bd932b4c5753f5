"""Weighted, acyclic text grammars over latent factors: one definition draws texts and scores them exactly.

A grammar first draws a joint assignment f of its factors from p(f), then a text x by choices whose weights may depend
on f. The same choices give p(x | f) by dynamic programming: a chart holds, for every node and every position where it
can begin, the summed weight of its derivations by the position where they end. So ambiguity costs no enumeration, and
log p(x) = log sum_f p(f) p(x | f) is exact. A text is its words joined by single spaces.

Shapes: A joint assignments of the factors, K alternatives of a choice, R rows of weights of a choice.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError, unknown_name

LogVector = npt.NDArray[np.float64]
"""One log weight per joint assignment (A)."""
Ends = dict[int, LogVector | float]
"""Log weight of all derivations that end at a position, by position; a float where no factor matters."""


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


class Draw:
    """A categorical distribution to draw from; nothing but ``random.Random.random`` decides, on any machine alike."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._outcomes = [outcome for outcome, weight in enumerate(weights) if weight > 0]
        self._cumulative = list(accumulate(weights[outcome] for outcome in self._outcomes))

    def __call__(self, rng: random.Random) -> int:
        """Returns an index into the weights; a certain outcome uses up no randomness."""
        last = len(self._outcomes) - 1
        if last == 0:
            return self._outcomes[0]
        point = rng.random() * self._cumulative[-1]
        return self._outcomes[bisect_right(self._cumulative, point, 0, last)]


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

    def prior(self, earlier: Mapping[str, str]) -> dict[str, float]:
        """Returns p(value | values of the earlier factors).

        Raises:
            BenchError: the factor it depends on is not among the earlier ones, or has a value without weights.
        """
        table: Mapping[str, Any] = self.weights
        if self.given is not None:
            if self.given not in earlier:
                raise unknown_name("earlier factor", self.given, earlier)
            if earlier[self.given] not in table:
                raise BenchError(f"factor {self.name!r} has no weights given {self.given} {earlier[self.given]!r}")
            table = table[earlier[self.given]]
        return dict(zip(table, normalised(table.values()), strict=True))


class Factors:
    """The joint assignments of a grammar's factors, with their prior.

    Attributes:
        names: names of the factors.
        assignments: joint assignments of positive probability, one value per factor each.
        prior: probability of each assignment.
    """

    def __init__(self, factors: Iterable[Factor]) -> None:
        self.names: tuple[str, ...] = ()
        joint: list[tuple[tuple[str, ...], float]] = [((), 1.0)]
        for factor in factors:
            joint = [
                ((*values, value), p * conditional)
                for values, p in joint
                for value, conditional in factor.prior(dict(zip(self.names, values, strict=True))).items()
                if conditional > 0
            ]
            self.names += (factor.name,)
        self.assignments = tuple(values for values, _ in joint)
        self.prior = tuple(p for _, p in joint)
        self.draw = Draw(self.prior)

    def values(self, name: str) -> tuple[str, ...]:
        """Returns the values of a factor, in the order in which they were first defined."""
        place = self._place(name)
        return tuple(dict.fromkeys(values[place] for values in self.assignments))

    def index(self, name: str) -> npt.NDArray[np.intp]:
        """Returns which of ``values(name)`` every assignment gives to the factor (A)."""
        place, values = self._place(name), self.values(name)
        return np.array([values.index(assignment[place]) for assignment in self.assignments], dtype=np.intp)

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise unknown_name("factor", name, self.names)
        return self.names.index(name)


class Node(ABC):
    """A part of a grammar: a distribution over word sequences for every joint assignment of the factors."""

    first: frozenset[str]
    """Words that its non-empty sequences can begin with."""
    nullable: bool
    """Whether it may be empty."""

    @abstractmethod
    def emit(self, assignment: int, rng: random.Random, words: list[str]) -> None:
        """Draws a sequence under an assignment and appends it to ``words``."""

    @abstractmethod
    def ends(self, chart: Chart, start: int) -> Ends:
        """Returns where its derivations of the words from ``start`` on end, with their log weights."""


class Chart:
    """What is known about one text: every question is answered once.

    Attributes:
        words: the words of the text.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ends: dict[tuple[Node, int], Ends] = {}

    def ends(self, node: Node, start: int) -> Ends:
        """Returns ``node.ends`` at a position."""
        key = (node, start)
        if key not in self._ends:
            self._ends[key] = node.ends(self, start)
        return self._ends[key]


def _add(ends: Ends, end: int, log_weight: LogVector | float) -> None:
    ends[end] = np.logaddexp(ends[end], log_weight) if end in ends else log_weight


class Words(Node):
    """A fixed sequence of words, perhaps empty."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self.first = frozenset(self.words[:1])
        self.nullable = not self.words

    def emit(self, assignment: int, rng: random.Random, words: list[str]) -> None:
        """Appends the words."""
        words.extend(self.words)

    def ends(self, chart: Chart, start: int) -> Ends:
        """Returns the one end, if the words stand there."""
        end = start + len(self.words)
        return {end: 0.0} if chart.words[start:end] == self.words else {}


class Series(Node):
    """Parts one after another."""

    def __init__(self, parts: Iterable[Node]) -> None:
        self.parts = tuple(parts)
        self.nullable = all(part.nullable for part in self.parts)
        opening = next((at for at, part in enumerate(self.parts) if not part.nullable), len(self.parts))
        self.first = frozenset().union(*(part.first for part in self.parts[: opening + 1]))

    def emit(self, assignment: int, rng: random.Random, words: list[str]) -> None:
        """Appends a draw of every part."""
        for part in self.parts:
            part.emit(assignment, rng, words)

    def ends(self, chart: Chart, start: int) -> Ends:
        """Sums over all ways to divide the words among the parts."""
        reached: Ends = {start: 0.0}
        for part in self.parts:
            after: Ends = {}
            for at, log_weight in reached.items():
                for end, more in chart.ends(part, at).items():
                    _add(after, end, log_weight + more)
            reached = after
        return reached


class Choice(Node):
    """One of several alternatives, with weights that may depend on the assignment.

    Attributes:
        alternatives: what is chosen from (K).
        weights: probabilities, one row for each kind of assignment that the choice tells apart (R x K).
        row: which row applies, by assignment (A), or None where there is one row for all.
    """

    def __init__(
        self,
        alternatives: Iterable[Node],
        weights: Iterable[Iterable[float]],
        row: npt.NDArray[np.intp] | None = None,
    ) -> None:
        self.alternatives = tuple(alternatives)
        self.weights = tuple(map(normalised, weights))
        self.row = row
        if any(len(row) != len(self.alternatives) for row in self.weights):
            raise BenchError(f"a choice of {len(self.alternatives)} alternatives needs as many weights in every row")
        self.first = frozenset().union(*(alternative.first for alternative in self.alternatives))
        self.nullable = any(alternative.nullable for alternative in self.alternatives)

    def emit(self, assignment: int, rng: random.Random, words: list[str]) -> None:
        """Appends a draw of one alternative."""
        row = 0 if self.row is None else int(self.row[assignment])
        self.alternatives[self._draws[row](rng)].emit(assignment, rng, words)

    def ends(self, chart: Chart, start: int) -> Ends:
        """Sums over the alternatives, each weighted by its probability."""
        candidates = self._nullable
        if start < len(chart.words):
            candidates = self._by_first.get(chart.words[start], candidates)
        found: Ends = {}
        for k in candidates:
            for end, log_weight in chart.ends(self.alternatives[k], start).items():
                _add(found, end, self._log_weights[k] + log_weight)
        return found

    @cached_property
    def _draws(self) -> tuple[Draw, ...]:
        return tuple(map(Draw, self.weights))

    @cached_property
    def _log_weights(self) -> list[LogVector] | list[float]:
        """Log probability of each alternative (K), for every assignment (A) if the choice depends on it."""
        with np.errstate(divide="ignore"):
            rows = np.log(np.array(self.weights))
        return rows[0].tolist() if self.row is None else list(np.ascontiguousarray(rows[self.row].T))

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


class Grammar:
    """A distribution over texts with latent factors.

    Attributes:
        factors: the latent factors.
        root: the node of a whole text.
    """

    def __init__(self, factors: Factors, root: Node) -> None:
        if root.nullable:
            raise BenchError("a grammar must not draw empty texts")
        self.factors = factors
        self.root = root

    def draw(self, rng: random.Random) -> tuple[str, tuple[str, ...]]:
        """Returns a text and the value of each factor it was drawn under."""
        assignment = self.factors.draw(rng)
        words: list[str] = []
        self.root.emit(assignment, rng, words)
        return " ".join(words), self.factors.assignments[assignment]

    def inside(self, text: str) -> LogVector:
        """Returns log p(text | assignment) in nats for every joint assignment (A); -inf where it is impossible."""
        words = text.split(" ")
        ends = Chart(words).ends(self.root, 0)
        return np.zeros(len(self.factors.assignments)) + ends.get(len(words), -np.inf)

    def log_p(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Returns the exact log p(text) in nats, one per text; -inf for a text that cannot be drawn."""
        return np.array([np.logaddexp.reduce(self._log_prior + self.inside(text)) for text in texts], dtype=np.float64)

    @cached_property
    def _log_prior(self) -> LogVector:
        return np.array([math.log(p) for p in self.factors.prior])

"""The slow truth about a grammar: every derivation, one by one, without the chart."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TypeVar

from bench.tasks import Example
from bench.tasks.factors import Assignment, Factor, Factors
from bench.tasks.grammar import Choice, Concatenation, Grammar, Node, Words

T = TypeVar("T")


def derivations(node: Node, values: Assignment) -> list[tuple[tuple[str, ...], float]]:
    """Returns the words and the probability of every derivation under an assignment."""
    if isinstance(node, Words):
        return [(node.words, 1.0)]
    if isinstance(node, Concatenation):
        return [
            (sum((words for words, _ in parts), ()), math.prod(p for _, p in parts))
            for parts in product(*(derivations(part, values) for part in node.parts))
        ]
    assert isinstance(node, Choice)
    return [
        (words, weight * p)
        for alternative, weight in zip(node.alternatives, weights_of(node, values), strict=True)
        if weight > 0
        for words, p in derivations(alternative, values)
    ]


def weights_of(choice: Choice, values: Assignment) -> tuple[float, ...]:
    return choice.weights[0 if choice.factor is None else values[choice.factor]]


def prior(factors: Factors) -> dict[Assignment, float]:
    """Returns the probability of every assignment."""
    listed = factors.assignments(factors.all_values)
    return {tuple(map(int, v)): math.exp(p) for v, p in zip(listed.values, listed.log_prior, strict=True)}


def distribution(grammar: Grammar, values: Assignment | None = None) -> dict[Example, float]:
    """Returns p(target), or p(source, target), of every text or pair; of those under one assignment, if it is given."""
    terms = defaultdict(list)
    for each, p in (prior(grammar.factors) if values is None else {values: 1.0}).items():
        sources = {None: 1.0} if grammar.source is None else texts(grammar.source, each)
        for (source, p_source), (target, p_target) in product(sources.items(), texts(grammar.target, each).items()):
            terms[Example(target, source)].append(p * p_source * p_target)
    return {example: math.fsum(parts) for example, parts in terms.items()}


def conditional(joint: dict[Example, float]) -> dict[Example, float]:
    """Returns p(target | source) of every pair; p(target), where there are no sources."""
    terms = defaultdict(list)
    for example, p in joint.items():
        terms[example.source].append(p)
    totals = {source: 1.0 if source is None else math.fsum(parts) for source, parts in terms.items()}
    return {example: p / totals[example.source] for example, p in joint.items()}


def texts(root: Node, values: Assignment) -> dict[str, float]:
    """Returns the probability of every text of a node under an assignment."""
    terms = defaultdict(list)
    for words, p in derivations(root, values):
        terms[" ".join(words)].append(p)
    return {text: math.fsum(parts) for text, parts in terms.items()}


def count(node: Node, values: Assignment) -> int:
    """Returns the number of derivations without making them."""
    if isinstance(node, Words):
        return 1
    if isinstance(node, Concatenation):
        return math.prod(count(part, values) for part in node.parts)
    assert isinstance(node, Choice)
    return sum(
        count(alternative, values)
        for alternative, weight in zip(node.alternatives, weights_of(node, values), strict=True)
        if weight > 0
    )


def total(grammar: Grammar) -> int:
    """Returns the number of derivations of all texts or pairs under all assignments."""
    roots = [root for root in (grammar.source, grammar.target) if root is not None]
    return sum(math.prod(count(root, values) for root in roots) for values in prior(grammar.factors))


def cut(grammar: Grammar, factors: Sequence[Factor], rng: random.Random, limit: int = 600) -> Grammar:
    """Returns a random small part of a grammar: of three factors two values, of each choice one or two alternatives."""
    doubled = 0.5
    while True:
        part = _Cutter(grammar, factors, rng, doubled).part()
        size = total(part)
        if limit / 5 <= size <= limit:
            return part
        doubled *= 0.8 if size > limit else 1.1


class _Cutter:
    def __init__(self, grammar: Grammar, factors: Sequence[Factor], rng: random.Random, doubled: float) -> None:
        self.grammar, self.rng, self.doubled = grammar, rng, doubled
        two = rng.sample([factor.name for factor in factors], 3)
        cut_factors: list[Factor] = []
        for factor in factors:
            size = 1 + (factor.name in two)
            if factor.given is None:
                weights = self.some(factor.weights, size)
            else:
                parents = Factors(cut_factors).values(factor.given)
                weights = {parent: self.some(factor.weights[parent], size) for parent in parents}
            cut_factors.append(Factor(factor.name, weights, factor.given))
        self.factors = Factors(cut_factors)
        # Of each factor the rows of the values that are left, in the new order.
        self.rows = [
            [grammar.factors.values(name).index(value) for value in self.factors.values(name)]
            for name in self.factors.names
        ]
        self.done: dict[Node, Node] = {}

    def some(self, weights: Mapping[T, float], size: int) -> dict[T, float]:
        possible = [value for value, weight in weights.items() if weight > 0]
        return {value: weights[value] for value in self.rng.sample(possible, min(len(possible), size))}

    def part(self) -> Grammar:
        source = None if self.grammar.source is None else self.node(self.grammar.source)
        return Grammar(self.factors, self.node(self.grammar.target), source)

    def node(self, node: Node) -> Node:
        if node not in self.done:
            self.done[node] = self.cut(node)
        return self.done[node]

    def cut(self, node: Node) -> Node:
        if isinstance(node, Concatenation):
            return Concatenation([self.node(part) for part in node.parts])
        if isinstance(node, Words):
            return node
        assert isinstance(node, Choice)
        rows = [node.weights[row] for row in (self.rows[node.factor] if node.factor is not None else [0])]
        kept: set[int] = set()
        for weights in rows:
            kept.update(self.some(dict(enumerate(weights)), 1 + (self.rng.random() < self.doubled)))
        places = sorted(kept)
        return Choice(
            [self.node(node.alternatives[k]) for k in places],
            [[weights[k] for k in places] for weights in rows],
            node.factor,
        )

"""The slow truth about a grammar: every derivation, one by one, without the chart."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from itertools import product

from bench.tasks.grammar import Choice, Factor, Factors, Grammar, Node, Series, Words


def derivations(node: Node, assignment: int) -> list[tuple[tuple[str, ...], float]]:
    """Returns the words and the probability of every derivation under an assignment."""
    if isinstance(node, Words):
        return [(node.words, 1.0)]
    if isinstance(node, Series):
        return [
            (sum((words for words, _ in parts), ()), math.prod(p for _, p in parts))
            for parts in product(*(derivations(part, assignment) for part in node.parts))
        ]
    weights = weights_of(node, assignment)
    return [
        (words, weight * p)
        for alternative, weight in zip(node.alternatives, weights, strict=True)
        if weight > 0
        for words, p in derivations(alternative, assignment)
    ]


def weights_of(choice: Choice, assignment: int) -> tuple[float, ...]:
    return choice.weights[0 if choice.row is None else int(choice.row[assignment])]


def distribution(grammar: Grammar, assignment: int | None = None) -> dict[str, float]:
    """Returns p(text) of every text, or p(text | assignment)."""
    terms = defaultdict(list)
    chosen = range(len(grammar.factors.assignments)) if assignment is None else [assignment]
    for a in chosen:
        prior = grammar.factors.prior[a] if assignment is None else 1.0
        for words, p in derivations(grammar.root, a):
            terms[" ".join(words)].append(prior * p)
    return {text: math.fsum(parts) for text, parts in terms.items()}


def count(node: Node, assignment: int) -> int:
    """Returns the number of derivations without making them."""
    if isinstance(node, Words):
        return 1
    if isinstance(node, Series):
        return math.prod(count(part, assignment) for part in node.parts)
    return sum(
        count(alternative, assignment)
        for alternative, weight in zip(node.alternatives, weights_of(node, assignment), strict=True)
        if weight > 0
    )


def cut(grammar: Grammar, rng: random.Random, assignments: int = 12, limit: int = 3000) -> Grammar:
    """Returns a random small part of a grammar: some assignments, and of each choice one or two alternatives."""
    chosen = sorted(rng.sample(range(len(grammar.factors.assignments)), assignments))
    prior = {"/".join(grammar.factors.assignments[a]): grammar.factors.prior[a] for a in chosen}
    factors = Factors([Factor("joint", prior)])
    doubled = 1.0
    while True:
        root = _cut(grammar.root, chosen, rng, doubled, {})
        if sum(count(root, a) for a in range(assignments)) <= limit:
            return Grammar(factors, root)
        doubled *= 0.8


def _cut(node: Node, chosen: list[int], rng: random.Random, doubled: float, done: dict[Node, Node]) -> Node:
    if node in done:
        return done[node]
    if isinstance(node, Series):
        done[node] = Series([_cut(part, chosen, rng, doubled, done) for part in node.parts])
    elif isinstance(node, Choice):
        kept: set[int] = set()
        for weights in node.weights:
            possible = [k for k, weight in enumerate(weights) if weight > 0]
            kept.update(rng.sample(possible, min(len(possible), 1 + (rng.random() < doubled))))
        places = sorted(kept)
        done[node] = Choice(
            [_cut(node.alternatives[k], chosen, rng, doubled, done) for k in places],
            [[weights[k] for k in places] for weights in node.weights],
            None if node.row is None else node.row[chosen],
        )
    else:
        done[node] = node
    return done[node]

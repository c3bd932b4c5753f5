"""The notation of the embedded grammars: named rules of plain phrases, compiled to the nodes of a grammar.

A rule is one of

- a phrase, ``"we ordered the {dish} and (it | that) was good"``: ``{name}`` is another rule, or the value of the factor
  of that name if there is no such rule; ``|`` separates alternatives (equally likely) at the top or inside parentheses,
  and an alternative may be empty, ``(really | ) good``;
- a list of rules: equally likely alternatives;
- a mapping from phrase to weight: alternatives with these weights;
- ``by(factor, value=rule, ...)``: the rule of the factor's value; ``by(factor)``: the value itself as a phrase;
- ``Distinct(count, rules, between)``: ``count`` different rules in random order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

from bench.errors import BenchError, did_you_mean, unknown_name
from bench.tasks.factors import Factor, Factors
from bench.tasks.grammar import Choice, Concatenation, Grammar, Node, Words

Rule: TypeAlias = "str | Sequence[Rule] | Mapping[str, float] | By | Distinct"
Rules: TypeAlias = Mapping[str, Rule]
"""Rules by name."""

_TOKEN = re.compile(r"[(|)]|[^\s(|)]+")
_REFERENCE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class By:
    """A rule for each value of a factor; see ``by``."""

    factor: str
    rules: Mapping[str, Rule]
    otherwise: Rule | None
    leak: float


@dataclass(frozen=True)
class Distinct:
    """``count`` different rules in random order, all equally likely, separated by ``between``."""

    count: int
    rules: Sequence[Rule]
    between: Rule = ""


def by(
    factor: str,
    rules: Mapping[str, Rule] | None = None,
    *,
    otherwise: Rule | None = None,
    leak: float = 0.0,
    **more: Rule,
) -> By:
    """Chooses a rule by the value of a factor.

    Args:
        factor: name of the factor.
        rules: the rule of each value. Without any rule, each value is a phrase.
        otherwise: the rule of all values without a rule.
        leak: total probability of the other values' rules, shared equally; the text then does not determine the value.
        more: further rules by value.
    """
    return By(factor, {**(rules or {}), **more}, otherwise, leak)


def compile_grammar(
    factors: Sequence[Factor], rules: Mapping[str, Rule], target: str = "text", source: str | None = None
) -> Grammar:
    """Compiles rules to a grammar.

    Args:
        factors: the latent factors, each after its parent.
        rules: the rules by name.
        target: name of the rule of targets.
        source: name of the rule of sources, if there are any.

    Raises:
        BenchError: a rule refers to a rule, factor or value that does not exist, or to itself, or is never used.
    """
    compiler = _Compiler(Factors(factors), rules)
    grammar = Grammar(compiler.factors, compiler.node(target), source=None if source is None else compiler.node(source))
    unused = sorted(set(rules) - set(compiler.nodes))
    if unused:
        raise BenchError(f"rules that no text uses: {', '.join(unused)}")
    return grammar


def lazy_grammar(
    factors: Sequence[Factor], rules: Rules, target: str = "text", source: str | None = None
) -> Callable[[], Grammar]:
    """Returns a function that compiles rules at its first call, as ``compile_grammar`` does."""
    return cache(partial(compile_grammar, factors, rules, target, source))


class _Compiler:
    def __init__(self, factors: Factors, rules: Mapping[str, Rule]) -> None:
        self.factors = factors
        self.rules = rules
        self.nodes: dict[str, Node] = {}
        self._phrases: dict[str, Node] = {}
        self._open: list[str] = []

    def node(self, name: str) -> Node:
        if name in self._open:
            raise BenchError(f"rule {name!r} refers to itself: {' -> '.join([*self._open, name])}")
        if name not in self.rules and name not in self.factors.names:
            raise unknown_name("rule", name, self.rules)
        if name not in self.nodes:
            self._open.append(name)
            self.nodes[name] = self._compile(self.rules.get(name, by(name)))
            self._open.pop()
        return self.nodes[name]

    def _compile(self, rule: Rule) -> Node:
        match rule:
            case str():
                return self._phrase(rule)
            case By():
                return self._by(rule)
            case Distinct():
                return self._distinct(list(map(self._compile, rule.rules)), rule.count, self._compile(rule.between))
            case Mapping():
                return Choice(map(self._phrase, rule), [rule.values()])
            case _:
                return _choice(list(map(self._compile, rule)))

    def _phrase(self, phrase: str) -> Node:
        # Equal phrases share a node, so a chart computes their values once.
        if phrase not in self._phrases:
            tokens = _TOKEN.findall(phrase)[::-1]
            self._phrases[phrase] = self._alternatives(tokens)
            if tokens:
                raise self._error(f"a closing parenthesis too many in {phrase!r}")
        return self._phrases[phrase]

    def _alternatives(self, tokens: list[str]) -> Node:
        """Reads alternatives from the end of the reversed ``tokens``, up to a closing parenthesis."""
        nodes = [self._concatenation(tokens)]
        while tokens and tokens[-1] == "|":
            tokens.pop()
            nodes.append(self._concatenation(tokens))
        return _choice(nodes)

    def _concatenation(self, tokens: list[str]) -> Node:
        parts: list[Node] = []
        words: list[str] = []
        while tokens and tokens[-1] not in "|)":
            piece = tokens.pop()
            reference = _REFERENCE.fullmatch(piece)
            if piece != "(" and reference is None:
                if "{" in piece or "}" in piece:
                    raise self._error(f"a reference must stand alone, unlike {piece!r}")
                words.append(piece)
                continue
            if words:
                parts.append(Words(words))
                words = []
            parts.append(self.node(reference[1]) if reference else self._group(tokens))
        if words or not parts:
            parts.append(Words(words))
        return parts[0] if len(parts) == 1 else Concatenation(parts)

    def _group(self, tokens: list[str]) -> Node:
        node = self._alternatives(tokens)
        if not tokens:
            raise self._error("a parenthesis is never closed")
        tokens.pop()
        return node

    def _by(self, rule: By) -> Node:
        values = self.factors.values(rule.factor)
        rules = rule.rules
        if not rules and rule.otherwise is None:
            rules = dict(zip(values, values, strict=True))
        for value in rules:
            if value not in values:
                raise self._error(f"factor {rule.factor!r} has no value {value!r}.{did_you_mean(value, values)}")
        missing = [value for value in values if value not in rules]
        if missing and rule.otherwise is None:
            raise self._error(f"no rule for {rule.factor} {', '.join(missing)}")
        nodes = {value: self._compile(alternative) for value, alternative in rules.items()}
        if rule.otherwise is not None:
            nodes |= dict.fromkeys(missing, self._compile(rule.otherwise))
        alternatives = list(dict.fromkeys(nodes[value] for value in values))
        indices = [alternatives.index(nodes[value]) for value in values]
        leaked = rule.leak / max(len(alternatives) - 1, 1)
        weights = [[1 - rule.leak if k == own else leaked for k in range(len(alternatives))] for own in indices]
        return Choice(alternatives, weights, self.factors.index(rule.factor))

    def _distinct(self, nodes: list[Node], count: int, between: Node) -> Node:
        if count > len(nodes):
            raise self._error(f"{count} different ones out of {len(nodes)}")
        if count == 1:
            return _choice(nodes)
        rest = [self._distinct(nodes[:k] + nodes[k + 1 :], count - 1, between) for k in range(len(nodes))]
        return _choice([Concatenation([node, between, other]) for node, other in zip(nodes, rest, strict=True)])

    def _error(self, problem: str) -> BenchError:
        return BenchError(f"rule {self._open[-1]!r}: {problem}")


def _choice(nodes: Sequence[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else Choice(nodes, [[1.0] * len(nodes)])

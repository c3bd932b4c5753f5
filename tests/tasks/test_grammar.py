from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.bootstrap import Array
from bench.errors import BenchError
from bench.tasks import Example
from bench.tasks.factors import Assignments, Categorical, Factor, Factors, normalise
from bench.tasks.grammar import Choice, Concatenation, Grammar, Words, inside
from bench.tasks.notation import Distinct, by, compile_grammar
from tests.tasks.brute_force import conditional, count, derivations, distribution, prior, texts, total

# Sums and products of fewer than 100 doubles of size 1: a few units of 2e-16 each.
EXACT = 1e-13


def grammar_of(text: Any, *factors: Factor, source: Any = None, **rules: Any) -> Grammar:
    roots = {"text": text} if source is None else {"text": text, "source": source}
    return compile_grammar(factors or (Factor("f", {"x": 1}),), {**roots, **rules}, source=source and "source")


def probabilities(grammar: Grammar) -> dict[Example, float]:
    """The distribution of targets or pairs by brute force, after checking that the chart gives the same."""
    joint = distribution(grammar)
    assert math.fsum(joint.values()) == pytest.approx(1, abs=1e-12)
    expected = conditional(joint)
    np.testing.assert_allclose(grammar.log_p(list(expected)), np.log(list(expected.values())), rtol=0, atol=1e-10)
    log_joint = [grammar.log_marginal(example.source, example.target) for example in joint]
    np.testing.assert_allclose(log_joint, np.log(list(joint.values())), rtol=0, atol=1e-10)
    return {each.target if grammar.source is None else (each.source, each.target): p for each, p in joint.items()}


def log_p(grammar: Grammar, *targets: str) -> Array:
    return grammar.log_p(list(map(Example, targets)))


MOOD = Factor("mood", {"good": 3, "bad": 1})
PLACE = Factor("place", {"good": {"inn": 1}, "bad": {"inn": 1, "den": 3}}, given="mood")

# One small grammar for each piece of the notation, with probabilities worked out by hand.
COMBINATORS: dict[str, tuple[Grammar, dict[Any, float]]] = {
    "words": (grammar_of("a b"), {"a b": 1}),
    "alternatives": (grammar_of("a b | c | d"), {"a b": 1 / 3, "c": 1 / 3, "d": 1 / 3}),
    "group": (grammar_of("a (b | c) d"), {"a b d": 1 / 2, "a c d": 1 / 2}),
    "nested groups": (grammar_of("((a | b) c | d)"), {"a c": 1 / 4, "b c": 1 / 4, "d": 1 / 2}),
    "optional": (grammar_of("(very | ) good"), {"very good": 1 / 2, "good": 1 / 2}),
    "only optional before the end": (grammar_of("a ( | b) ( | c)"), dict.fromkeys(["a", "a b", "a c", "a b c"], 1 / 4)),
    "reference": (
        grammar_of("{x} and {x}", x="a | b"),
        dict.fromkeys(["a and a", "a and b", "b and a", "b and b"], 1 / 4),
    ),
    "list": (grammar_of(["a | b", "c"]), {"a": 1 / 4, "b": 1 / 4, "c": 1 / 2}),
    "weights": (grammar_of({"a": 3, "b c": 1, "d": 0}), {"a": 3 / 4, "b c": 1 / 4}),
    "distinct": (
        grammar_of(Distinct(2, ["a", "b", "c"], "and")),
        dict.fromkeys(["a and b", "a and c", "b and a", "b and c", "c and a", "c and b"], 1 / 6),
    ),
    "distinct all": (grammar_of(Distinct(2, ["a", "b"])), {"a b": 1 / 2, "b a": 1 / 2}),
    "by": (grammar_of(by("mood", good="yes | no", bad="no"), MOOD), {"yes": 3 / 8, "no": 3 / 8 + 1 / 4}),
    "the value of a factor": (grammar_of("{mood}", MOOD), {"good": 3 / 4, "bad": 1 / 4}),
    "by twice": (grammar_of("{m} {m}", MOOD, m=by("mood", good="a", bad="b")), {"a a": 3 / 4, "b b": 1 / 4}),
    "otherwise": (grammar_of(by("mood", good="yes", otherwise="no"), MOOD), {"yes": 3 / 4, "no": 1 / 4}),
    "leak": (grammar_of(by("mood", good="yes", bad="no", leak=0.1), MOOD), {"yes": 0.7, "no": 0.3}),
    "dependent factors": (
        grammar_of("{m} {p}", MOOD, PLACE, m=by("mood", good="fine", bad="poor"), p=by("place", inn="inn", den="den")),
        {"fine inn": 3 / 4, "poor inn": 1 / 16, "poor den": 3 / 16},
    ),
    "ambiguous words": (grammar_of("a b | {x}", x="a (b | c)"), {"a b": 3 / 4, "a c": 1 / 4}),
    "ambiguous division": (grammar_of("(a | a a) (a | a a)"), {"a a": 1 / 4, "a a a": 1 / 2, "a a a a": 1 / 4}),
    "ambiguous factor": (grammar_of(by("mood", good="a | b", bad="a"), MOOD), {"a": 3 / 8 + 1 / 4, "b": 3 / 8}),
    "value as phrase": (grammar_of("the {p}", MOOD, PLACE, p=by("place")), {"the inn": 13 / 16, "the den": 3 / 16}),
    "pair": (
        grammar_of(by("mood", good="a", bad="b"), MOOD, source=by("mood", good="c", bad="c | d")),
        {("c", "a"): 3 / 4, ("c", "b"): 1 / 8, ("d", "b"): 1 / 8},
    ),
    "independent pair": (
        grammar_of("a | b", MOOD, source=by("mood", good="c", bad="d")),
        {("c", "a"): 3 / 8, ("c", "b"): 3 / 8, ("d", "a"): 1 / 8, ("d", "b"): 1 / 8},
    ),
    "shared rule": (
        grammar_of("{p} | {m}", MOOD, PLACE, source="{p}", p=by("place"), m=by("mood", good="yes", bad="{p}")),
        {("inn", "inn"): 3 / 8 + 1 / 16, ("inn", "yes"): 3 / 8, ("den", "den"): 3 / 16},
    ),
}


@pytest.mark.parametrize(("grammar", "expected"), COMBINATORS.values(), ids=COMBINATORS)
def test_each_combinator_is_exact(grammar: Grammar, expected: dict[str, float]) -> None:
    assert probabilities(grammar) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize(
    "text", ["", "a", "a b c", "b", "a  b", " a b", "a b ", "A b", "a c d e", "x", "d d", "a\tb"], ids=repr
)
def test_an_impossible_text_has_no_probability(text: Any) -> None:
    grammar = grammar_of("a b | a c d | (d | ) x y")
    assert log_p(grammar, text)[0] == -math.inf


def test_a_text_that_no_single_assignment_can_draw_is_impossible() -> None:
    grammar, _ = COMBINATORS["by twice"]
    assert log_p(grammar, "a b", "b a").tolist() == [-math.inf, -math.inf]


def test_a_pair_that_no_single_assignment_can_draw_is_impossible() -> None:
    grammar, _ = COMBINATORS["pair"]
    assert grammar.log_p([Example("a", "d"), Example("a", "x"), Example("x", "c")]).tolist() == [-math.inf] * 3


def test_the_target_of_a_pair_is_scored_given_its_source() -> None:
    grammar, _ = COMBINATORS["pair"]
    pairs = [Example("a", "c"), Example("b", "c"), Example("b", "d")]
    np.testing.assert_allclose(np.exp(grammar.log_p(pairs)), [6 / 7, 1 / 7, 1], rtol=EXACT)


def test_the_marginal_sums_out_what_is_not_given() -> None:
    grammar, _ = COMBINATORS["pair"]
    given = [{}, {"source": "c"}, {"source": "d"}, {"target": "a"}, {"target": "b"}, {"source": "c", "target": "b"}]
    marginals = [math.exp(grammar.log_marginal(**texts)) for texts in given]
    assert marginals == pytest.approx([1, 7 / 8, 1 / 8, 3 / 4, 1 / 4, 1 / 8], abs=EXACT)


def test_a_grammar_of_single_texts_takes_no_source() -> None:
    grammar, _ = COMBINATORS["by"]
    with pytest.raises(BenchError, match="a source is given to a grammar that has none"):
        grammar.log_p([Example("yes", "source")])


def test_inside_is_the_likelihood_of_every_assignment() -> None:
    grammar, _ = COMBINATORS["dependent factors"]
    every = grammar.factors.assignments(grammar.factors.all_values)
    assert list(map(grammar.factors.value_names, every.values)) == [("good", "inn"), ("bad", "inn"), ("bad", "den")]
    assert inside(grammar.target, ["poor", "den"], every).tolist() == [-math.inf, -math.inf, 0.0]
    assert inside(grammar.target, ["no", "such", "text"], every).tolist() == [-math.inf] * 3


def test_the_factors_have_the_joint_distribution_of_their_definitions() -> None:
    factors = Factors([MOOD, PLACE, Factor("size", {"big": 1, "huge": 0, "small": 3})])
    rooms = {("good", "inn"): 3 / 4, ("bad", "inn"): 1 / 16, ("bad", "den"): 3 / 16}
    sizes = {"big": 1 / 4, "small": 3 / 4}
    expected = {(*room, size): p * share for room, p in rooms.items() for size, share in sizes.items()}
    assert {factors.value_names(each): p for each, p in prior(factors).items()} == pytest.approx(expected, abs=EXACT)
    rng = random.Random(4)
    drawn = Counter(factors.value_names(factors.draw(rng)) for _ in range(20_000))
    assert set(drawn) == set(expected)
    assert stats.chisquare([drawn[v] for v in expected], [20_000 * p for p in expected.values()]).pvalue > 1e-3


def test_only_the_assignments_within_a_set_of_values_are_listed() -> None:
    factors = Factors([MOOD, PLACE])
    bad, den = factors.restrict(0, [1]), factors.restrict(1, [1])

    def listed(values: Assignments) -> Any:
        return list(map(factors.value_names, factors.assignments(values).values))

    assert listed(bad) == [("bad", "inn"), ("bad", "den")]
    assert listed(den) == [("bad", "den")]
    assert listed(bad & den) == [("bad", "den")]
    assert listed(factors.restrict(0, [0]) & den) == []
    assert listed(0) == []
    sets = (factors.all_values, bad & den, den & factors.restrict(1, [0]), 0)
    assert [factors.is_empty(values) for values in sets] == [False, False, True, True]


def test_millions_of_assignments_are_not_listed() -> None:
    # 20 to the power of 12 assignments, of which a text leaves 20.
    names = [f"f{i}" for i in range(12)]
    factors = [Factor(name, {f"{name}w{i}": 1 + i for i in range(20)}) for name in names]
    rules = {name: by(name) for name in names}
    grammar = compile_grammar(factors, {"text": " ".join(f"{{{name}}}" for name in names[1:]) + " ( | {f0})", **rules})
    text = " ".join(f"{name}w9" for name in names[1:])
    assert log_p(grammar, text)[0] == pytest.approx(11 * math.log(10 / 210) - math.log(2), abs=1e-9)


def test_a_long_text_does_not_underflow() -> None:
    grammar = grammar_of("{w} " * 400, w=" | ".join(f"w{i}" for i in range(100)))
    text = " ".join(["w7"] * 400)
    # 400 additions of a number near 4.6: rounding below 400 * 2000 * 2e-16.
    assert log_p(grammar, text)[0] == pytest.approx(-400 * math.log(100), abs=1e-9)


FACTORS = Factors(
    [Factor("f", {"x": 1, "y": 2}), Factor("g", {"x": {"x": 1, "z": 2}, "y": {"x": 3, "y": 1}}, given="f")]
)
LEAVES = st.lists(st.sampled_from("ab"), max_size=2).map(Words)


def _concatenations(nodes: Any) -> Any:
    return st.lists(nodes, min_size=1, max_size=3).map(Concatenation)


@st.composite
def _choices(draw: Any, nodes: Any) -> Any:
    alternatives = draw(st.lists(nodes, min_size=1, max_size=3))
    weights = st.lists(st.integers(0, 3), min_size=len(alternatives), max_size=len(alternatives)).filter(any)
    factor = draw(st.sampled_from([None, 0, 1]))
    rows = 1 if factor is None else len(FACTORS.values(FACTORS.names[factor]))
    return Choice(alternatives, [draw(weights) for _ in range(rows)], factor)


NODES = st.recursive(LEAVES, lambda nodes: _concatenations(nodes) | _choices(nodes), max_leaves=10)


@settings(max_examples=150, deadline=None)
@given(NODES, st.none() | NODES)
def test_any_grammar_scores_as_the_sum_of_its_derivations(target: Any, source: Any) -> None:
    # Two letters only, so that most texts have several derivations. The last word keeps texts from being empty.
    target, source = (node and Concatenation([node, Words(["end"])]) for node in (target, source))
    grammar = Grammar(FACTORS, target, source)
    assume(total(grammar) <= 2000)
    probabilities(grammar)
    every = FACTORS.assignments(FACTORS.all_values)
    for a, values in enumerate(prior(FACTORS)):
        expected = texts(target, values)
        likelihood = [inside(target, text.split(" "), every)[a] for text in expected]
        np.testing.assert_allclose(likelihood, np.log(list(expected.values())), rtol=0, atol=1e-10)


def test_draws_follow_the_distribution() -> None:
    grammar, expected = COMBINATORS["dependent factors"]
    rng = random.Random(1)
    drawn = Counter(grammar.draw(rng)[0].target for _ in range(20_000))
    assert set(drawn) == set(expected)
    observed = [drawn[text] for text in expected]
    assert stats.chisquare(observed, [20_000 * p for p in expected.values()]).pvalue > 1e-3


def test_mean_information_of_draws_is_the_entropy() -> None:
    grammar = grammar_of(
        "{m} ({w} | ) {w} (a | a a) (a | )",
        MOOD,
        m=by("mood", good={"a": 5, "b": 1, "c c": 2}, bad="c", leak=0.2),
        w="x | y (x | ) | z",
    )
    p = np.array(list(probabilities(grammar).values()))
    entropy = -(p * np.log(p)).sum()
    deviation = math.sqrt((p * np.log(p) ** 2).sum() - entropy**2)
    rng = random.Random(2)
    mean = -grammar.log_p([grammar.draw(rng)[0] for _ in range(4000)]).mean()
    assert abs(mean - entropy) < 4 * deviation / math.sqrt(4000)


def test_a_draw_names_the_values_it_was_made_under() -> None:
    grammar, _ = COMBINATORS["dependent factors"]
    rng = random.Random(3)
    for _ in range(50):
        example, values = grammar.draw(rng)
        mood, place = example.target.split()
        assert values == ({"fine": "good", "poor": "bad"}[mood], place)


def test_the_highest_draw_takes_the_last_possible_outcome() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1 - 2**-53

    assert Categorical(enumerate([0.1, 0.2, 0.7, 0.0]))(Highest()) == 2
    assert Categorical(enumerate([0.0, 1.0]))(random.Random(0)) == 1


def test_a_certain_draw_uses_no_randomness() -> None:
    rng = random.Random(5)
    state = rng.getstate()
    assert Categorical(enumerate([0.0, 3.0, 0.0]))(rng) == 1
    assert rng.getstate() == state


def test_weights_are_summed_in_order() -> None:
    # Left to right in doubles; math.fsum, and sum() since Python 3.12, give 0.1 for the first weight exactly.
    total = 0.0
    for _ in range(10):
        total += 0.1
    assert normalise([0.1] * 10)[0] == 0.1 / total != 0.1


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [2, -1]], ids=str)
def test_weights_without_a_distribution_are_refused(weights: list[float]) -> None:
    with pytest.raises(BenchError, match="non-negative with a positive total"):
        normalise(weights)


def test_a_choice_needs_a_weight_for_each_alternative() -> None:
    with pytest.raises(BenchError, match="a choice of 2 alternatives"):
        Choice([Words("a"), Words("b")], [[1, 1], [1]])


BAD_RULES = {
    "undefined rule": ({"text": "{dsh}", "dish": "soup"}, r"unknown rule 'dsh'. Did you mean 'dish'\?"),
    "rule in itself": ({"text": "a {x}", "x": "b {text}"}, "'text' refers to itself: text -> x -> text"),
    "unused rule": ({"text": "a", "x": "b"}, "no text uses: x"),
    "unknown factor": ({"text": by("mod", good="a", bad="b")}, r"unknown factor 'mod'. Did you mean 'mood'\?"),
    "unknown value": ({"text": by("mood", god="a", bad="b")}, r"'mood' has no value 'god'. Did you mean 'good'\?"),
    "missing value": ({"text": by("mood", good="a")}, "no rule for mood bad"),
    "open parenthesis": ({"text": "a (b | c"}, "never closed"),
    "closed parenthesis": ({"text": "a b ) c"}, "too many"),
    "joined reference": ({"text": "the {x}s", "x": "dish"}, "must stand alone, unlike '{x}s'"),
    "too many distinct": ({"text": Distinct(3, ["a", "b"])}, "3 different ones out of 2"),
    "empty texts": ({"text": "a | "}, "must not draw empty texts"),
}


@pytest.mark.parametrize(("rules", "message"), BAD_RULES.values(), ids=BAD_RULES)
def test_a_mistake_in_the_rules_is_named(rules: Any, message: str) -> None:
    with pytest.raises(BenchError, match=message) as error:
        compile_grammar([MOOD], rules)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (Factor("p", {"x": {"a": 1}}, given="mod"), r"unknown earlier factor 'mod'. Did you mean 'mood'\?"),
        (Factor("p", {"good": {"a": 1}}, given="mood"), "factor 'p' has no weights given mood 'bad'"),
        (Factor("p", {"a": 0}), "positive total"),
    ],
    ids=["unknown", "incomplete", "impossible"],
)
def test_a_mistake_in_a_factor_is_named(factor: Any, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        Factors([MOOD, factor])


def test_brute_force_counts_what_it_lists() -> None:
    grammar, _ = COMBINATORS["ambiguous division"]
    assert count(grammar.target, (0,)) == len(derivations(grammar.target, (0,))) == 4

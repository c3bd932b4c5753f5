from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
import time
from functools import cache

import numpy as np
import pytest
from brute_force import cut, distribution
from write_golden import problems, read

from bench.errors import BenchError
from bench.tasks import Example, TaskData, get_task, load_task, task_names
from bench.tasks.data import SPLITS, checksum, repetitions

EMBEDDED = ("ptb", "snli", "yahoo", "yelp")
SMALL = {"train": 40, "valid": 20, "test": 30}


@cache
def corpus(name: str) -> TaskData:
    return load_task(name)


@pytest.fixture(params=EMBEDDED)
def name(request) -> str:
    return request.param


def targets(name: str) -> list[str]:
    return [example.target for split in SPLITS for example in corpus(name).splits[split]]


def test_tasks_need_no_torch():
    code = "import sys; from bench.tasks import load_task; load_task('snli'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_every_embedded_task_is_registered():
    assert set(EMBEDDED) <= set(task_names())
    assert [get_task(name).title for name in EMBEDDED] == ["PTB", "SNLI", "Yahoo", "Yelp"]


def test_the_default_corpus_is_what_its_version_says(name):
    golden = read()[name]
    assert {"version": corpus(name).version, "sha256": corpus(name).sha256} == golden, (
        "the texts or the version moved; see tests/tasks/write_golden.py"
    )


def test_other_texts_need_another_version():
    golden = {"ptb": {"version": 1, "sha256": "a"}}
    assert problems(golden, {"ptb": {"version": 1, "sha256": "b"}}) == [
        "ptb: other texts under version 1; raise the version in its grammar file"
    ]
    assert problems(golden, {"ptb": {"version": 2, "sha256": "b"}, "new": {"version": 1, "sha256": "c"}}) == []


def test_the_default_sizes_are_those_of_the_task(name):
    assert {split: len(corpus(name).splits[split]) for split in SPLITS} == {"train": 4000, "valid": 500, "test": 500}
    assert {split: len(corpus(name).splits[split]) for split in SPLITS} == dict(get_task(name).sizes)


# Probability of any text drawn is exact on a random small part of each real grammar: the same nodes, fewer of them.
@pytest.mark.parametrize("seed", [0, 1])
def test_log_p_is_exact_on_a_part_of_each_grammar(name, seed):
    part = cut(get_task(name).grammar(), random.Random(seed), limit=1500)
    expected = distribution(part)
    assert len(expected) > 100
    assert math.fsum(expected.values()) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(part.log_p(list(expected)), np.log(list(expected.values())), rtol=0, atol=1e-10)


def test_mean_information_is_the_entropy_on_a_part_of_each_grammar(name):
    part = cut(get_task(name).grammar(), random.Random(2), limit=1500)
    p = np.array(list(distribution(part).values()))
    entropy = -(p * np.log(p)).sum()
    deviation = math.sqrt((p * np.log(p) ** 2).sum() - entropy**2)
    rng = random.Random(3)
    mean = -part.log_p([part.draw(rng)[0] for _ in range(500)]).mean()
    assert abs(mean - entropy) < 4 * deviation / math.sqrt(500)


def test_every_text_is_possible_and_a_changed_one_is_not(name):
    data = corpus(name)
    texts = data.splits["test"][:100]
    log_p = data.log_p(texts)
    assert log_p.shape == (100,)
    assert log_p.dtype == np.float64
    assert np.isfinite(log_p).all()
    assert (log_p < 0).all()
    changed = [Example(text.target + " zebra") for text in texts] + [Example(text.target[::-1]) for text in texts]
    assert np.isneginf(data.log_p(changed)).all()


def test_log_p_of_a_text_does_not_depend_on_the_others(name):
    data = corpus(name)
    texts = data.splits["test"][:5]
    assert [data.log_p([text])[0] for text in texts] == data.log_p(texts).tolist()


def test_factors_are_recorded_for_every_text(name):
    data, grammar = corpus(name), get_task(name).grammar()
    assert len(grammar.factors.names) >= 4
    for split in SPLITS:
        assert tuple(data.factors[split]) == grammar.factors.names
        for factor, values in data.factors[split].items():
            assert len(values) == len(data.splits[split])
            assert set(values) == set(grammar.factors.values(factor))


def test_factors_decide_the_words_and_leave_much_open(name):
    """What the factors tell of a text, E[log p(x|f) - log p(x)], is most of their entropy and a part of the text's."""
    data, grammar = corpus(name), get_task(name).grammar()
    texts = data.splits["test"][:200]
    labels = list(zip(*(data.factors["test"][factor] for factor in grammar.factors.names), strict=True))[:200]
    given = [
        grammar.inside(text.target)[grammar.factors.assignments.index(label)]
        for text, label in zip(texts, labels, strict=True)
    ]
    entropy = -data.log_p(texts).mean()
    information = entropy + np.mean(given)
    prior = np.array(grammar.factors.prior)
    assert information > 0.85 * -(prior * np.log(prior)).sum()
    assert entropy > 2 * information


# Words per text: mean within, and every text within.
LENGTHS = {
    "snli": ((9, 12), (5, 25)),
    "ptb": ((19, 24), (5, 60)),
    "yahoo": ((75, 85), (40, 120)),
    "yelp": ((85, 95), (50, 130)),
}


def test_texts_have_the_length_of_their_domain(name):
    (shortest_mean, longest_mean), (shortest, longest) = LENGTHS[name]
    lengths = [len(text.split(" ")) for text in targets(name)]
    assert shortest_mean < np.mean(lengths) < longest_mean
    assert shortest <= min(lengths) <= max(lengths) <= longest


def test_texts_have_the_alphabet_of_their_domain(name):
    words = {word for text in targets(name) for word in text.split(" ")}
    signs = {word for word in words if not re.fullmatch(r"[a-z]+(['.&-][a-z]+)*\.?", word)}
    assert (
        signs
        == {
            "snli": set(),
            "ptb": {"N", "<unk>", "$", "%", "&", "'s"},
            "yahoo": {"_UNK", "www._UNK.com", ".", ",", "?", "!", ":"},
            "yelp": {"_UNK", "'s", ".", ",", "!"},
        }[name]
    )
    assert 400 < len(words) < 1000


def test_articles_agree_with_the_next_word(name):
    wrong = re.compile(r"\b(a (?!use|one|uni)[aeiou]\w*|an (?!hour|honest)[^aeiou\W]\w*)")
    assert [match[0] for text in targets(name) if (match := wrong.search(text))] == []


def test_texts_hardly_repeat(name):
    texts = targets(name)
    assert 1 - len(set(texts)) / len(texts) < (0.05 if name == "snli" else 0.001)


def test_a_larger_corpus_begins_with_the_smaller(name):
    small = load_task(name, limits=SMALL)
    assert {split: len(small.splits[split]) for split in SPLITS} == SMALL
    for split in SPLITS:
        assert small.splits[split] == corpus(name).splits[split][: SMALL[split]]
        for factor, values in small.factors[split].items():
            assert values == corpus(name).factors[split][factor][: SMALL[split]]


def test_a_limit_may_exceed_the_default_size():
    assert len(load_task("snli", limits={"train": 1, "valid": 1, "test": 600}).splits["test"]) == 600


def test_another_seed_draws_other_texts(name):
    first, again, second = (load_task(name, limits=SMALL, seed=seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256
    assert len({first.sha256, second.sha256, corpus(name).sha256}) == 3
    assert not set(first.splits["train"]) & set(second.splits["train"])


def test_building_and_scoring_are_quick(name):
    """Seconds of processor time, with room for a slow machine."""
    start = time.process_time()
    data = load_task(name)
    built = time.process_time()
    data.log_p(data.splits["test"])
    assert built - start < 5
    assert time.process_time() - built < 5


def test_statistics_describe_the_texts():
    splits = {
        "train": (Example("a b b"), Example("a"), Example("a")),
        "valid": (Example("c d"),),
        "test": (Example("e"),),
    }
    factors = {"train": {"f": ("x", "y", "x")}, "valid": {"f": ("x",)}, "test": {"f": ("y",)}}
    data = TaskData("t", "unconditional", 1, "grammar", checksum(splits), splits, factors, None, ())
    assert data.statistics()["train"] == {
        "texts": 3,
        "distinct_texts": 2,
        "target": {"mean_words": 5 / 3, "min_words": 1, "max_words": 3, "distinct_words": 2},
        "factors": {"f": {"x": 2, "y": 1}},
    }
    assert json.loads(json.dumps(data.statistics())) == data.statistics()


def test_statistics_of_pairs_describe_the_sources_too():
    splits = dict.fromkeys(SPLITS, (Example("a b", "q r s"), Example("a", "q")))
    data = TaskData("t", "conditional", 1, "files", "", splits, {split: {} for split in SPLITS}, None, ())
    assert data.statistics()["test"]["source"] == {
        "mean_words": 2,
        "min_words": 1,
        "max_words": 3,
        "distinct_words": 3,
    }


def test_the_checksum_sees_every_change():
    splits = {"train": (Example("a"), Example("b")), "valid": (Example("c"),), "test": (Example("d"),)}
    others = [
        {**splits, "train": (Example("b"), Example("a"))},
        {**splits, "train": (Example("a b"),)},
        {**splits, "train": (Example("a"),), "valid": (Example("b"), Example("c"))},
        {**splits, "test": (Example("d", source=""),)},
        {**splits, "test": (Example("d "),)},
        {**splits, "valid": splits["test"], "test": splits["valid"]},
    ]
    assert len({checksum(each) for each in [splits, *others]}) == len(others) + 1
    # Fixed for ever: records of other machines and years hold it. Made with sha256sum over the lines themselves.
    assert checksum(splits) == "3d0900c096c47878aa6f5f2f7fbc1d9db84c456046286df4dc5bbb6e2b1cd32e"


def test_repeated_texts_are_counted():
    a, b, c = Example("a"), Example("b"), Example("c")
    assert repetitions({"train": (a, b, b), "valid": (b, b, c), "test": (c, a)}) == (
        "valid repeats 2 of the texts of train",
        "test repeats 1 of the texts of train",
        "test repeats 1 of the texts of valid",
    )
    assert repetitions({"train": (a, a), "valid": (b,), "test": (Example("a", "b"),)}) == ()


MISTAKES = {
    "task": (("snlii", {}), r"unknown task 'snlii'. Did you mean 'snli'\? Allowed: .*ptb, snli"),
    "source": (("snli", {"source": "hub"}), "unknown source of texts 'hub'.*Allowed: files, grammar"),
    "split": (("snli", {"limits": {"dev": 5}}), "unknown split 'dev'.*Allowed: test, train, valid"),
    "limit": (("snli", {"limits": {"test": 0}}), "the limit of test must be at least 1, not 0"),
    "folder": (("snli", {"folder": "x"}), r"a folder \(x\) goes with source 'files'"),
    "no folder": (("snli", {"source": "files"}), "task 'snli': source 'files' needs a folder"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_call_is_named(call, message):
    name, options = call
    with pytest.raises(BenchError, match=message) as error:
        load_task(name, **options)
    assert "\n" not in str(error.value)

"""The set of texts, and what every registered text metric owes the harness."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.bootstrap import Bootstrap
from bench.errors import BenchError
from bench.metric import PerTextMetric, Signature
from bench.metrics.text import TEXT_METRICS, TextSet
from bench.metrics.tokens import TOKENIZERS
from tests.metrics.text_cases import AWKWARD, random_texts

CORE = sorted(set(TEXT_METRICS.builtin) - {"MAUVE", "BERTScore"})
SOURCES = 5
FULL = TextSet(
    AWKWARD,
    tuple((text, "a cat") for text in reversed(AWKWARD)),
    (*AWKWARD, *random_texts(30, 1)),
    random_texts(30, 2),
    per_source=len(AWKWARD) // SOURCES,
)


@pytest.mark.parametrize("name", TEXT_METRICS.builtin)
def test_a_metric_is_found_under_its_own_name(name: str) -> None:
    metric = TEXT_METRICS.get(name)()
    assert metric.name == name
    assert metric.version >= 1
    assert metric == TEXT_METRICS.get(name)()


@pytest.mark.parametrize("name", CORE)
def test_a_score_says_what_it_is(name: str) -> None:
    metric = TEXT_METRICS.get(name)()
    assert metric.supports(FULL) is None
    score = metric.score(FULL, Bootstrap(samples=50))
    assert score.n == (SOURCES if name.endswith("[source]") else len(AWKWARD))
    parsed = Signature.parse(score.signature)
    assert parsed == metric.signature(FULL)
    assert (parsed.metric, parsed.version) == (name, metric.version)
    if isinstance(metric, PerTextMetric):
        assert score.interval is not None
        assert score.interval.low <= score.value <= score.interval.high
        assert len(metric.statistics(FULL)) == score.n
    else:
        assert score.interval is None


@pytest.mark.parametrize("name", CORE)
@pytest.mark.parametrize("samples", [("",), ("", ""), ("", "a"), ("word",) * 3], ids=repr)
def test_every_set_of_texts_gets_a_finite_score_or_a_reason(name: str, samples: tuple[str, ...]) -> None:
    metric = TEXT_METRICS.get(name)()
    inputs = TextSet(samples, tuple(("",) for _ in samples), ("", "word"), ("",), per_source=len(samples))
    reason = metric.supports(inputs)
    if reason is None:
        assert 0.0 <= metric.score(inputs).value <= 100.0
    else:
        with pytest.raises(BenchError) as error:
            metric.score(inputs)
        assert str(error.value) == f"{name}: {reason}"


def test_every_summary_is_one_full_line() -> None:
    summaries = TEXT_METRICS.summaries()
    assert set(TEXT_METRICS.builtin) <= set(summaries)
    assert all(line.endswith(".") for line in summaries.values())
    assert len(set(summaries.values())) == len(summaries)


def test_no_module_of_the_text_metrics_imports_torch_or_nltk() -> None:
    modules = sorted(
        {target.partition(":")[0] for target in TEXT_METRICS.builtin.values()} | {"bench.metrics.score_files"}
    )
    code = f"import sys, {', '.join(modules)}; print(sorted({{'torch', 'nltk', 'transformers'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert result.stdout.strip() == "[]"


def test_texts_are_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def tokenize(text: str) -> list[str]:
        seen.append(text)
        return text.split()

    monkeypatch.setattr("bench.metrics.text.load_tokenizer", lambda name: tokenize)
    inputs = TextSet(("a b c", "c b"), corpus=("a c",))
    for name in ("Self-BLEU", "Dist-1", "CND", "BLEU-all", "Jaccard"):
        TEXT_METRICS.get(name)().score(inputs)
    assert sorted(seen) == ["a b c", "a c", "c b"]


@pytest.mark.parametrize("tokenizer", sorted(TOKENIZERS))
def test_all_parts_share_a_vocabulary(tokenizer: str) -> None:
    inputs = TextSet(("a b",), corpus=("b c",), train=("c a",))
    ids = [inputs.tokens(part, tokenizer).ids.tolist() for part in ("generations", "corpus", "train")]
    assert ids == [[0, 1], [1, 2], [2, 0]]


@pytest.mark.parametrize(
    ("samples", "references", "message"),
    [
        ((), (), "no generated texts to score"),
        (("a", "b"), (("a",),), "pairs: 2 generated texts but 1 references"),
        (("a", "b"), (("a",), ()), "pairs: generated text 2 has no reference"),
    ],
)
def test_bad_sets_are_refused(samples: tuple[str, ...], references: tuple[tuple[str, ...], ...], message: str) -> None:
    with pytest.raises(BenchError) as error:
        TextSet(samples, references)
    assert str(error.value) == message

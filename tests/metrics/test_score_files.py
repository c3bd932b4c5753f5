"""Scores of files: their forms, and one clear line for everything that can be wrong with them."""

from __future__ import annotations

import gzip
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.bootstrap import Bootstrap
from bench.errors import BenchError
from bench.metrics.score_files import read_references, read_texts, score_files
from bench.metrics.text import TEXT_METRICS

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def test_every_form_of_a_file_gives_the_same_texts(write: Write) -> None:
    texts = ("a b", "", "  l'été 日本 with \u2028 inside")
    objects = [{"text": texts[0]}, {"target": texts[1], "source": "x"}, {"text": texts[2], "target": "not this"}]
    forms = {
        "a.txt": "\n".join(texts) + "\n",
        "b.txt": "\n".join(texts),
        "c.txt": "\ufeff" + "\r\n".join(texts),
        "d.txt.gz": "\n".join(texts) + "\n",
        "e.jsonl": "\n".join(json.dumps(text) for text in texts),
        "f.jsonl": "\n".join(json.dumps(entry) for entry in objects),
        "g.jsonl.gz": "\n".join(json.dumps(entry) for entry in objects) + "\n",
    }
    for name, content in forms.items():
        assert read_texts(write(name, content)) == texts, name


def test_references_may_be_several(write: Write) -> None:
    path = write("r.jsonl", '{"references": ["a", "b"]}\n{"target": "c"}\n"d"\n')
    assert read_references(path) == (("a", "b"), ("c",), ("d",))


def test_one_file_may_hold_texts_and_references(write: Write) -> None:
    path = write("generations.jsonl", '{"source": "s", "reference": "a b", "text": "a c"}\n')
    assert (read_texts(path), read_references(path)) == (("a c",), (("a b",),))


def test_pairs_without_names_get_all_that_applies(write: Write) -> None:
    generations, references = write("g.txt", "a b c d\n\nx y\n"), write("r.txt", "a b c d\nx\nx y\n")
    found = score_files(generations, references, bootstrap=Bootstrap(samples=20))
    scored = {score.name for score in found.scores}
    assert scored.isdisjoint(found.skipped)
    assert scored | set(found.skipped) == set(TEXT_METRICS.builtin)
    assert {"BLEU", "BLEU-all", "ROUGE-L", "Self-BLEU", "CND"} <= scored
    assert found.skipped == {
        "BERTScore": "needs an encoder: name one",
        "Copy rate": "needs the training texts",
        "MAUVE": "needs an encoder: name one",
        "Novelty": "needs the training texts",
        **{name: "needs several samples per source" for name in TEXT_METRICS.builtin if name.endswith("[source]")},
    }
    assert all(score.n == 3 for score in found.scores)


def test_a_corpus_of_another_size_is_no_pairs(write: Write) -> None:
    generations, corpus = write("g.txt", "a b\nb c\n"), write("r.txt", "a b\n")
    found = score_files(generations, corpus, write("t.txt", "b  c\n"))
    assert found.skipped["BLEU"] == found.skipped["ROUGE-1"] == "needs references in pairs with the generated texts"
    scores = {score.name: score.value for score in found.scores}
    assert scores["Copy rate"] == 50.0
    assert "BLEU-all" in scores


def test_pairs_can_be_denied(write: Write) -> None:
    generations, corpus = write("g.txt", "a b\nb c\n"), write("r.txt", "a b\nc d\n")
    assert "ROUGE-1" in score_files(generations, corpus, pairs=False).skipped


def test_lines_in_a_row_may_belong_to_one_source(write: Write) -> None:
    generations = write("g.txt", "a b\na b\nc d\ne f\n")
    (score,) = score_files(generations, metrics=["Jaccard[source]"], per_source=2).scores
    assert (score.value, score.n) == (50.0, 2)
    expected = "sources: 4 generated texts are not 3 for each source"
    assert error_of(generations, metrics=["Jaccard[source]"], per_source=3) == expected


def test_named_metrics_keep_their_order_and_any_case(write: Write) -> None:
    generations = write("g.txt", "a b\nb c\n")
    found = score_files(generations, metrics=["self-bleu", "DIST-1", "Length"], tokenizer="whitespace")
    assert [score.name for score in found.scores] == ["Self-BLEU", "Dist-1", "Length"]
    assert all("tok:whitespace" in score.signature for score in found.scores)
    assert not found.skipped


def test_metrics_have_options(write: Write) -> None:
    generations, references = write("g.txt", "a b c\nb c\n"), write("r.txt", "a b c\nc d\n")
    calls = ["self-bleu:n=2", "CND:3", "CND", "ROUGE-L:stem=true", "Dist-1:tokens"]
    found = score_files(generations, references, metrics=calls, tokenizer="whitespace", pairs=True)
    signatures = [score.signature for score in found.scores]
    assert signatures[0] == "Self-BLEU|n:2|refs:others-1|smooth:method1|tok:whitespace|v:1"
    assert ["n:3" in signatures[1], "n:2" in signatures[2]] == [True, True]
    assert "stem:yes" in signatures[3]
    assert "tokens" in signatures[4]
    (own,) = score_files(generations, metrics=["Length:tokenizer=13a"], tokenizer="whitespace").scores
    assert "tok:13a" in own.signature


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("CND:m=3", "'CND:m=3': unknown key 'm'. Allowed: n, tokenizer."),
        ("CND:n=.inf", "'CND:n=.inf': n: Input should be a finite number (got inf)."),
        ("CND:n=0", "n-gram order 0; allowed: 1 or more"),
        ("BLEU-texygen:limit=0", "limit 0; allowed: 2 or more, or null"),
        ("Copy rate:n=1", "'Copy rate:n=1': unknown key 'n'. Allowed: (none)."),
        ("CND:2,3,4", "'CND:2,3,4': takes at most 2 arguments (n, tokenizer)."),
        ("CND:tokenizer=13", "'CND:tokenizer=13': tokenizer: Input should be a valid string (got 13)."),
    ],
)
def test_wrong_options(write: Write, call: str, message: str) -> None:
    generations, references = write("g.txt", "a b\nb c\n"), write("r.txt", "a b\nc d\n")
    assert error_of(generations, references, metrics=[call]) == message


def test_a_broken_metric_of_a_package_costs_only_itself(write: Write, install: Callable[..., Path]) -> None:
    source = """
        from bench.metrics.surface import EmptyRate
        class Novel(EmptyRate):
            def statistics(self, inputs):
                return 1 / 0
        class Strict(EmptyRate):
            def __init__(self):
                raise OSError
    """
    entries = {
        "Novel": "acme_metric.novel:Novel",
        "Strict": "acme_metric.novel:Strict",
        "Lazy": "acme_metric.lazy:Lazy",
    }
    modules = {"novel": textwrap.dedent(source), "lazy": "raise RuntimeError('no driver')\n"}
    install("acme_metric", entries, "della_bench.text_metrics", **modules)
    generations = write("g.txt", "a b\nb c\n")
    reasons = {
        "Novel": "ZeroDivisionError: division by zero",
        "Strict": "OSError",
        "Lazy": "text metric 'Lazy' cannot be loaded from 'acme_metric.lazy:Lazy': RuntimeError: no driver",
    }
    found = score_files(generations)
    assert {name: reason for name, reason in found.skipped.items() if name in reasons} == {
        **reasons,
        "Strict": "Strict: OSError",
    }
    assert "Self-BLEU" in {score.name for score in found.scores}
    assert error_of(generations, metrics=["Lazy"]) == reasons["Lazy"]
    assert error_of(generations, metrics=["novel"]) == "novel: ZeroDivisionError: division by zero"
    assert error_of(generations, metrics=["Strict"]) == "Strict: OSError"


def error_of(*arguments: object, **options: object) -> str:
    with pytest.raises(BenchError) as error:
        score_files(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_unequal_pairs(write: Write) -> None:
    generations, references = write("g.txt", "a\nb\n"), write("r.txt", "a\n")
    expected = f"{generations} has 2 texts but {references} has 1: no pairs"
    assert error_of(generations, references, metrics=["ROUGE-L"]) == expected
    assert error_of(generations, references, metrics=["Dist-1"], pairs=True) == expected


def test_wrong_requests(write: Write) -> None:
    one = write("g.txt", "a\n")
    assert error_of(one, metrics=["Self-BLEU"]) == "Self-BLEU: needs at least 2 generated texts, got 1"
    assert error_of(one, metrics=["BLEU"]) == "BLEU: needs references in pairs with the generated texts"
    assert error_of(one, metrics=["Copy rate"]) == "Copy rate: needs the training texts"
    assert "unknown text metric 'Self-BLUE'. Did you mean 'Self-BLEU'? Allowed: " in error_of(
        one, metrics=["Self-BLUE"]
    )
    assert "unknown tokenizer '13'. Did you mean '13a'?" in error_of(one, metrics=["Length"], tokenizer="13")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.txt", "", "{} is empty"),
        ("g.txt.gz", "", "{} is empty"),
        ("g.csv", "a\n", "{}: unknown kind of file; allowed: .txt, .txt.gz, .jsonl, .jsonl.gz"),
        ("g.txt", b"fine\nbad \xff\n", "{}, line 2: not UTF-8 (byte 5 of the line)."),
        ("g.jsonl", '"fine"\n{"text": }\n', "{}, line 2: not JSON: Expecting value at column 10."),
        ("g.jsonl", '{"texts": "a"}\n', "{}, line 1: no field 'text' or 'target'; it has: texts"),
        ("g.jsonl", '{"text": 3}\n', "{}, line 1: field 'text': expected text, got int."),
        ("g.jsonl", "[]\n", "{}, line 1: expected text, got list."),
        (
            "g.jsonl",
            r'{"text": "a \ud83d b"}',
            "{}, line 1: half a surrogate pair, which is not a character.",
        ),
        ("g.jsonl", '{"text": "a", "text": "b"}\n', "{}, line 1: 'text' is given twice."),
        ("g.jsonl", "[" * 100_000, "{}, line 1: nested too deeply."),
    ],
)
def test_bad_files(write: Write, name: str, content: str | bytes, message: str) -> None:
    path = write(name, content)
    assert error_of(path) == message.format(path)


def test_bad_references(write: Write) -> None:
    generations = write("g.txt", "a\n")
    for line in ('{"references": []}', '{"references": "a"}'):
        path = write("r.jsonl", line)
        expected = f"{path}, line 1: 'references' is not a list of one or more texts."
        assert error_of(generations, path) == expected
    for line, message in (
        ('["a", 1]', "field 'references': expected text, got int."),
        (r'["\udc00"]', "half a surrogate pair, which is not a character."),
    ):
        path = write("r.jsonl", f'{{"references": {line}}}')
        assert error_of(generations, path) == f"{path}, line 1: {message}"


def test_missing_and_broken_files(write: Write, tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.txt") == f"cannot read {tmp_path / 'none.txt'}: No such file or directory."
    whole = write("g.txt.gz", "some text\n" * 1000)
    whole.write_bytes(whole.read_bytes()[:-12])
    assert error_of(whole).startswith(f"cannot read {whole} after line ")
    not_gzip = write("h.txt", "plain\n").rename(tmp_path / "h.txt.gz")
    assert error_of(not_gzip).startswith(f"cannot read {not_gzip}: Not a gzipped file")

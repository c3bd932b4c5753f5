"""What stands before a run: tokenized once, and the same whether it comes from the cache or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import pytest

from bench.harness import prepare as module
from bench.harness.prepare import Prepared, prepare
from bench.harness.tokenized_texts import TokenizedTexts
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DELLA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def content(texts: TokenizedTexts) -> dict[str, object]:
    arrays = {name: array.tolist() for name, array in texts.arrays().items()}
    return {**arrays, "cuts": texts.cuts}


def content_of(prepared: Prepared) -> list[object]:
    return [prepared.identities, prepared.data_facts(), *map(content, prepared.texts.values())]


@pytest.mark.parametrize(("label", "task"), [("embed", "snli"), ("della", "quora"), ("optimus", "writingprompts")])
def test_texts_are_tokenized_once(
    cache: Path, micro: MakeSpec, monkeypatch: pytest.MonkeyPatch, label: str, task: str
) -> None:
    spec = micro(label, task, max_tokens=20, max_source_tokens=8)
    with monkeypatch.context() as patch:
        patch.setenv("DELLA_BENCH_CACHE", "")
        expected = prepare(spec)
        assert expected.texts
    assert not cache.exists()
    assert sum(sum(texts.cuts.values()) for texts in expected.texts.values()) > 0
    first = prepare(spec)
    assert not list(cache.glob("texts-*"))  # a run that is recorded needs none
    assert first.texts
    monkeypatch.setattr(module, "tokenize", None)
    again = prepare(spec)
    assert content_of(first) == content_of(again) == content_of(expected)
    assert isinstance(again.texts["train"].ids.flat.base, np.memmap)
    one, other = (prepared.texts["test"].batch([5, 0, 3]) for prepared in (again, expected))
    assert one.ids.equal(other.ids)
    assert one.mask.equal(other.mask)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_tokens": 21},
        {"max_source_tokens": 9},
        {"limits": {"train": 25, "valid": 8, "test": 12}},
        {"tokenizer": {"vocabulary_size": 281}},
        {"encoder": {"vocabulary_size": 99}},
        {"encoder": {"positions": 19}},
    ],
)
def test_what_decides_the_ids_decides_what_is_read(cache: Path, micro: MakeSpec, changes: dict[str, object]) -> None:
    """Everything is tokenized again, and right."""
    whole = {"max_tokens": 20, "max_source_tokens": 8}
    assert prepare(micro("optimus", "quora", **whole)).texts
    before = set(cache.glob("texts-*"))
    changed = prepare(micro("optimus", "quora", **{**whole, **changes}))
    assert changed.texts
    assert len(before) == 3
    assert len(set(cache.glob("texts-*")) - before) == 3
    shutil.rmtree(cache)
    assert content_of(changed) == content_of(prepare(micro("optimus", "quora", **{**whole, **changes})))


def test_a_tokenizer_that_serves_with_other_special_tokens_is_another(cache: Path, micro: MakeSpec) -> None:
    prepared = prepare(micro("embed"))
    tokenizer = copy(prepared.tokenizer)
    tokenizer.bos, tokenizer.eos = tokenizer.eos, tokenizer.bos
    swapped = module.tokenize_splits(prepared.data, tokenizer, (100, None))["test"]
    ids, expected = (texts.ids.tolist() for texts in (swapped, prepared.texts["test"]))
    assert ids[0][1:-1] == expected[0][1:-1]
    assert (ids[0][0], ids[0][-1]) == (expected[0][-1], expected[0][0])

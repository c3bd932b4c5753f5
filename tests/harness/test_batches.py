"""Batches made ahead of time: the same ones in the same order, errors in their place, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import torch
from torch import Tensor

from bench.batch import Batch
from bench.harness.batches import batches_on_device, map_ahead
from bench.harness.tokenized_texts import TokenizedTexts, tokenize
from bench.tasks import Example
from bench.tokenizers import EncoderTokens, Tokenizer

WORDS = ("no", "a dog runs", "the cat sat on the mat", "who", "the dog", "a cat", "it")
ORDER = [[3, 1], [0], [5, 6, 2], [4], [1, 1], [2], [6]]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.fixture(scope="module")
def texts(tokenizer: Tokenizer, encoder_tokenizer: Tokenizer) -> TokenizedTexts:
    examples = [Example(text, source) for text, source in zip(WORDS, reversed(WORDS), strict=True)]
    return tokenize(examples, tokenizer.with_encoder(EncoderTokens(encoder_tokenizer, 50)), 50, 50)


def tensors(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    batch.mapped(note)
    return found


def alike(one: Batch, other: Batch) -> bool:
    return all(a.equal(b) for a, b in zip(tensors(one), tensors(other), strict=True))


class TestInAdvance:
    @pytest.mark.parametrize("ahead", [0, 1, 3, 100])
    def test_what_is_made_comes_in_order(self, ahead: int) -> None:
        assert list(map_ahead(lambda item: item**2, range(20), ahead)) == [item**2 for item in range(20)]
        assert list(map_ahead(str, (), ahead)) == []

    def test_the_next_are_made_meanwhile_in_one_thread(self) -> None:
        made: list[int] = []
        threads: set[int] = set()
        fourth = threading.Event()

        def make(item: int) -> int:
            made.append(item)
            threads.add(threading.get_ident())
            if item == 3:
                fourth.set()
            return item

        with closing(map_ahead(make, range(20), ahead=3)) as results:
            assert next(results) == 0
            assert fourth.wait(timeout=30)  # though only one was asked for
            assert made == [0, 1, 2, 3]
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    def test_items_are_taken_by_the_caller_and_only_so_many(self) -> None:
        taken: list[tuple[int, int]] = []

        def items() -> Iterator[int]:
            for item in range(20):
                taken.append((item, threading.get_ident()))
                yield item

        with closing(map_ahead(str, items(), ahead=2)) as results:
            assert next(results) == "0"
            assert taken == [(item, threading.get_ident()) for item in range(3)]

    def test_an_error_is_raised_where_its_item_stands(self) -> None:
        results = map_ahead(lambda item: 1 // (item - 3), range(10), ahead=4)
        assert [next(results) for _ in range(3)] == [-1, -1, -1]
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == []

    def test_an_error_of_the_items_is_raised(self) -> None:
        def items() -> Iterator[int]:
            yield 1
            raise LookupError("no more")

        with pytest.raises(LookupError, match="no more"):
            list(map_ahead(str, items(), ahead=2))

    def test_what_nobody_waits_for_is_not_made(self) -> None:
        made: list[int] = []
        second, closing_has_begun = threading.Event(), threading.Event()

        def make(item: int) -> int:
            made.append(item)
            if item == 1:
                second.set()
                closing_has_begun.wait(timeout=30)
            return item

        results = map_ahead(make, range(100), ahead=50)
        assert next(results) == 0
        assert second.wait(timeout=30)
        # `close` waits for what is being made, so something else has to end that.
        timer = threading.Timer(0.2, closing_has_begun.set)
        timer.start()
        results.close()
        timer.join()
        assert made == [0, 1]

    def test_an_iterator_that_is_dropped_takes_its_thread_along(self) -> None:
        results = map_ahead(str, range(100), ahead=50)
        assert next(results) == "0"
        del results


class TestLoad:
    def test_on_cpu_batches_are_those_of_the_texts(self, texts: TokenizedTexts) -> None:
        state = torch.get_rng_state()
        loaded = list(batches_on_device(texts, ORDER, torch.device("cpu")))
        assert all(alike(batch, texts.batch(indices)) for batch, indices in zip(loaded, ORDER, strict=True))
        assert torch.get_rng_state().equal(state)

    def test_on_a_gpu_they_are_pinned_by_the_thread_and_moved_by_the_caller(
        self, texts: TokenizedTexts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[tuple[str, bool]] = []

        def noted(name: str) -> Callable[..., Batch]:
            def call(batch: Batch, *device: torch.device) -> Batch:
                calls.append((name, threading.current_thread() is threading.main_thread()))
                assert device == ((torch.device("cuda"),) if name == "to" else ())
                return batch

            return call

        for name in ("pin_memory", "to"):
            monkeypatch.setattr(Batch, name, noted(name))
        loaded = list(batches_on_device(texts, ORDER, torch.device("cuda")))
        assert all(alike(batch, texts.batch(indices)) for batch, indices in zip(loaded, ORDER, strict=True))
        assert sorted(calls) == [("pin_memory", False)] * len(ORDER) + [("to", True)] * len(ORDER)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_gets_the_same_batches(self, texts: TokenizedTexts) -> None:
        for batch, indices in zip(batches_on_device(texts, ORDER, torch.device("cuda")), ORDER, strict=True):
            assert all(tensor.is_cuda for tensor in tensors(batch))
            assert alike(batch.mapped(Tensor.cpu), texts.batch(indices))
        pinned = texts.batch(ORDER[0]).pin_memory()
        assert len(tensors(pinned)) == 12
        assert all(tensor.is_pinned() for tensor in tensors(pinned))

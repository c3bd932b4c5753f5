"""Batches in the order in which they are worked on, on a GPU made while it works on those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from bench.batch import Batch
from bench.harness.tokenized_texts import TokenizedTexts

Item = TypeVar("Item")
Made = TypeVar("Made")

AHEAD = 4
"""Batches that lie ready while a step runs."""


def load(texts: TokenizedTexts, batches: Iterable[Sequence[int]], device: torch.device) -> Generator[Batch, None, None]:
    """Yields batches of texts, given by their indices, on ``device``.

    On CPU they are made in place, where a thread would take from the step's time what it saves.
    """
    if device.type != "cuda":
        for indices in batches:
            yield texts.batch(indices).to(device)
        return
    for batch in in_advance(lambda indices: texts.batch(indices).pin_memory(), batches):
        yield batch.to(device)


def in_advance(make: Callable[[Item], Made], items: Iterable[Item], ahead: int = AHEAD) -> Generator[Made, None, None]:
    """Yields what is made of each item, in order, while one thread makes the next ones.

    What ``make`` raises is raised where its item's turn is. The thread ends with the iterator, used up or closed.

    Args:
        make: called in the thread.
        items: taken one by one in the caller's own thread.
        ahead: how many are made, or being made, before they are asked for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="in-advance") as pool:
        waiting = deque[Future[Made]]()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

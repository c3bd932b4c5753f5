"""Batches of tokenized texts on the device that works on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice, tee
from typing import TypeVar

import torch

from bench.batch import Batch, divided
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.tokenized_texts import TokenizedTexts

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")

BATCHES_AHEAD = 4
"""Batches that are ready, or in preparation, while the GPU works on another one."""


def batches_on_device(
    texts: TokenizedTexts, batches: Iterable[Sequence[int]], device: torch.device
) -> Generator[Batch, None, None]:
    """Yields the batches whose texts have the given indices, on ``device``.

    For a GPU, a thread prepares batches ahead. On CPU a thread would take from the step the time that it saves.
    """
    if device.type != "cuda":
        for indices in batches:
            yield texts.batch(indices).to(device)
        return
    for batch in map_ahead(lambda indices: texts.batch(indices).pin_memory(), batches):
        yield batch.to(device)


def micro_batches_on_device(
    texts: TokenizedTexts,
    batches: Iterable[Sequence[int]],
    micro_batch_tokens: int | None,
    device: torch.device,
    processes: ProcessGroup = ALONE,
) -> Generator[list[Batch], None, None]:
    """Yields this process's micro-batches of each batch.

    Without ``micro_batch_tokens`` a batch is its only micro-batch.
    """
    divisions, same_divisions = tee(
        processes.share(
            [indices] if micro_batch_tokens is None else divided(indices, texts.lengths, micro_batch_tokens)
        )
        for indices in batches
    )
    with closing(batches_on_device(texts, chain.from_iterable(divisions), device)) as micro_batches:
        yield from (list(islice(micro_batches, len(division))) for division in same_divisions)


def map_ahead(
    function: Callable[[InputT], OutputT], items: Iterable[InputT], ahead: int = BATCHES_AHEAD
) -> Generator[OutputT, None, None]:
    """Yields ``function`` of each item in order, while one thread computes the next ones.

    An exception of ``function`` is raised when its item is due. The thread ends when the iterator is exhausted or
    closed.

    Args:
        function: runs in the thread.
        items: are taken one by one in the caller's thread.
        ahead: number of items that are computed before they are due.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="map-ahead") as pool:
        waiting = deque[Future[OutputT]]()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

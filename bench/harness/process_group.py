"""Data parallelism inside a run: processes that ``accelerate launch`` starts train and score it together.

The process of rank 0 leads: it alone writes records, checkpoints and weights. Each process computes its share of the
micro-batches of a step and of the texts that are scored. The random draws of a micro-batch do not depend on the
process, so that the number of processes changes a result only by rounding.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from bench.errors import BenchError

logger = logging.getLogger(__name__)

T = TypeVar("T")

BUCKET = 2**24
"""Numbers that are summed over the processes in one message."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run; by default only this one.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        device: of this process; None for the default.
    """

    rank: int = 0
    size: int = 1
    device: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this process reads and writes the files of the run."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Returns the items of this process: every ``size``-th from ``rank`` on, so that each has one process."""
        return items[self.rank :: self.size]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Ends this process at once if the block fails in one of several: the others wait for messages of the block.

        The launcher then ends the others; what the leader has written stays.
        """
        try:
            yield
        except BaseException:
            if self.size == 1:
                raise
            logger.exception("process %d of %d failed", self.rank, self.size)
            logging.shutdown()
            os._exit(1)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Tells the other processes at the end of the block that there is nothing more to run."""
        try:
            yield
        finally:
            self.broadcast(None)

    def wait(self) -> None:
        """Waits until every process has come here."""
        if self.size > 1:
            distributed.barrier()

    def broadcast(self, value: T) -> T:
        """Returns the value of the leader."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """Returns the values of all processes by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum of a tensor over the processes."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Adds up the gradients of the processes; a parameter without any keeps none."""
        if self.size == 1:
            return
        parameters = list(parameters)
        if not parameters:
            return
        device = parameters[0].device
        counts = self.sum(torch.tensor([int(p.grad is not None) for p in parameters], device=device)).tolist()
        gradients = []
        for parameter, count in zip(parameters, counts, strict=True):
            if count:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = self.sum(torch.cat([gradient.flatten() for gradient in bucket]))
            for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(total.view_as(gradient))


ALONE = ProcessGroup()


def process_group() -> ProcessGroup:
    """Returns the processes that ``accelerate launch`` started, connected; only this one without it.

    Raises:
        BenchError: Accelerate is not installed.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise BenchError("several processes of one run need Accelerate: pip install 'della-bench[parallel]'") from error
    state = PartialState()
    return ProcessGroup(state.process_index, state.num_processes, str(state.device))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yields tensors in groups of one data type with at most `BUCKET` numbers, or one tensor."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (bucket[0].dtype != tensor.dtype or sum(t.numel() for t in bucket) + tensor.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket

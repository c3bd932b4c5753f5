"""What every Transformer stack is: a Hugging Face model that encodes texts, with its tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from bench.backbones.dropout import use_fast_dropout
from bench.batch import Batch
from bench.tokenizers import Tokenizer


@dataclass(frozen=True)
class Encoded:
    """Hidden states of an encoder pass.

    Attributes:
        layers: output of every block (L of B x T x width).
        last: output of the whole stack, after its final layer norm if it has one (B x T x width).
        first_token: the first token's part of ``last``, behind the pooler of a stack that has one (B x width).
        mask: True at tokens, False at padding (B x T).
    """

    layers: tuple[Tensor, ...]
    last: Tensor
    first_token: Tensor
    mask: Tensor


class Stack(nn.Module, ABC):
    """A Hugging Face model that encodes texts.

    Its blocks are run one by one, for what the model's own pass does not do: give the output of every block, with other
    weights for a while, recomputing activations, and never asking the device what a mask looks like.

    Attributes:
        model: the Hugging Face model.
        tokenizer: its tokenizer.
        activation_checkpointing: whether the backward pass computes the activations of a block anew, instead of
            keeping them.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        use_fast_dropout(model)
        self.model = model
        self.activation_checkpointing = False

    @property
    @abstractmethod
    def width(self) -> int:
        """Hidden size."""

    @property
    @abstractmethod
    def n_layers(self) -> int:
        """Number of blocks; where encoder and decoder are two, of each."""

    @property
    @abstractmethod
    def positions(self) -> int:
        """Longest sequence it takes."""

    @property
    @abstractmethod
    def initial_std(self) -> float:
        """Standard deviation of the weights before any training; what is added to the stack begins alike."""

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, special tokens included."""
        return int(self.model.config.vocab_size)

    @abstractmethod
    def encode(self, batch: Batch) -> Encoded:
        """Runs the encoder over the texts, every token seeing every other; padding is seen by none."""

    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """Returns all blocks."""

    def through(
        self,
        blocks: Iterable[nn.Module],
        states: Tensor,
        merged: Mapping[int, Mapping[str, Tensor]] | None = None,
        **keywords: Any,
    ) -> tuple[Tensor, ...]:
        """Runs blocks one after the other and returns the output of each (B x T x width).

        Args:
            blocks: of the model.
            states: embedded tokens (B x T x width).
            merged: values that parameters have in this pass: by the block's place, by their names in the block.
            **keywords: for every block.
        """

        def run(block: nn.Module, own: Mapping[str, Tensor] | None, states: Tensor) -> Tensor:
            if own is None:
                return cast(Tensor, block(states, **keywords))
            return cast(Tensor, torch.func.functional_call(block, dict(own), (states,), keywords))

        recomputes = self.activation_checkpointing and torch.is_grad_enabled()
        outputs: list[Tensor] = []
        for place, block in enumerate(blocks):
            own = None if merged is None else merged.get(place)
            states = checkpoint(run, block, own, states, use_reentrant=False) if recomputes else run(block, own, states)
            outputs.append(states)
        return tuple(outputs)


def scaled_std(width: int) -> float:
    """Returns the standard deviation that weights from scratch begin with.

    GPT-2 and BART begin with 0.02 at a width of 768; a narrower model shall start with signals as strong.
    """
    return 0.02 * (768 / width) ** 0.5


@contextmanager
def compiled(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Lets ``torch.compile`` make the kernels of blocks for a while, the same for all lengths."""
    # Every block counts as the same code, and each has passes of several kinds: it would soon give up on them.
    with torch._dynamo.config.patch(recompile_limit=16 * len(blocks)):
        for block in blocks:
            block.forward = torch.compile(block.forward, dynamic=True)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def padding_mask(batch: Batch) -> Tensor | None:
    """Returns where attention may look (B x 1 x 1 x T), or None where no text is padded."""
    return batch.mask[:, None, None] if batch.padded else None

"""What every Transformer stack is: a Hugging Face model that encodes texts, with its tokenizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from bench.backbones.foundation import Foundation
from bench.backbones.tokenizers import Tokenizer
from bench.interface import Batch


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


class Stack(Foundation):
    """A Hugging Face model that encodes texts.

    Attributes:
        model: the Hugging Face model.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self.model = model

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


def scaled_std(width: int) -> float:
    """Returns the standard deviation that weights from scratch begin with.

    GPT-2 and BART begin with 0.02 at a width of 768; a narrower model shall start with signals as strong.
    """
    return 0.02 * (768 / width) ** 0.5


def block_outputs(blocks: nn.ModuleList, run: Callable[[], Any]) -> tuple[tuple[Tensor, ...], Any]:
    """Returns the output of every block during ``run``, and what it returned."""
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda module, inputs, output: outputs.append(output)) for block in blocks]
    try:
        result = run()
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(outputs), result

"""The least that every system stands on: a tokenizer, and a width."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from bench.tokenizers import Tokenizer


class Foundation(nn.Module, ABC):
    """What a system stands on.

    Attributes:
        tokenizer: supplies the tokens at both ends of a text, and padding.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    @property
    @abstractmethod
    def width(self) -> int:
        """Hidden size."""

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, special tokens included."""
        return len(self.tokenizer)


class BareFoundation(Foundation):
    """The foundation of a system that has no use for a Transformer stack: no weights, and the width of one."""

    def __init__(self, tokenizer: Tokenizer, width: int) -> None:
        super().__init__(tokenizer)
        self._width = width

    @property
    def width(self) -> int:
        """Hidden size of the stack that other systems stand on."""
        return self._width

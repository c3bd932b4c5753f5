"""A Transformer stack: a Hugging Face model that encodes texts, with its tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.backbones.dropout import use_fast_dropout
from bench.backbones.injection import ATTENTION
from bench.batch import Batch
from bench.pretrained import load_pretrained
from bench.specs import StackSpec
from bench.tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class EncoderOutput:
    """Hidden states of an encoder pass.

    Attributes:
        layers: output of every block (L of B x T x width).
        last: output of the whole stack, after its final layer norm if it has one (B x T x width).
        first_token_state: one vector per text: the first token's state in ``last``, after BERT's pooler for BERT
            (B x width).
        mask: True at tokens, False at padding (B x T).
    """

    layers: tuple[Tensor, ...]
    last: Tensor
    first_token_state: Tensor
    mask: Tensor


class TransformerStack(nn.Module, ABC):
    """A Hugging Face model that encodes texts.

    Its blocks are run one by one, because the model's own forward pass cannot return the output of every block, use
    other weights for one pass, recompute activations, or work without copying the mask from the GPU.

    Class attributes:
        model_name: name of the class of the Hugging Face model in ``bench.backbones.models``.
        shares_values: whether several heads of queries may share a head of keys and values.
        rotates: whether positions rotate pairs of the values of a head, whose number is then even.

    Attributes:
        model: the Hugging Face model.
        tokenizer: its tokenizer.
        activation_checkpointing: whether the backward pass recomputes the activations of each block, to save memory.
    """

    model_name: ClassVar[str]
    shares_values: ClassVar[bool] = False
    rotates: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        from bench.backbones.models import use_fast_linear

        super().__init__()
        self.tokenizer = tokenizer
        use_fast_dropout(model)
        use_fast_linear(model)
        self.model = model
        self.activation_checkpointing = False

    @classmethod
    def model_class(cls) -> type[PreTrainedModel]:
        """Returns the class of the Hugging Face model."""
        from bench.backbones import models

        return cast("type[PreTrainedModel]", getattr(models, cls.model_name))

    @classmethod
    def from_scratch(cls, spec: StackSpec, tokenizer: Tokenizer) -> Self:
        """Builds a stack of the given size with random weights from torch's global generator."""
        config = cls.model_class().config_class(
            attn_implementation=ATTENTION,
            vocab_size=len(tokenizer),
            max_position_embeddings=spec.positions,
            hidden_size=spec.width,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            **cls.scratch_settings(spec, tokenizer),
            **cls.dropout_settings(spec.dropout),
        )
        return cls(cls.model_class()(config), tokenizer)

    @classmethod
    def from_pretrained(cls, spec: StackSpec, where: str, tokenizer: Tokenizer) -> Self:
        """Loads a stack from a folder or the hub.

        Raises:
            BenchError: the weights are not complete, or do not fit the tokenizer.
        """
        model = load_pretrained(
            cls.model_class(),
            where,
            {"revision": spec.revision, "attn_implementation": ATTENTION, **cls.dropout_settings(spec.dropout)},
        )
        cls.fit_tokenizer(model, tokenizer, where)
        return cls(model, tokenizer)

    @classmethod
    @abstractmethod
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        """Returns the entries of the Hugging Face config of a model from scratch that differ between classes."""

    @classmethod
    @abstractmethod
    def dropout_settings(cls, p: float) -> dict[str, float]:
        """Returns the entries of the Hugging Face config that set the dropout probability ``p`` everywhere."""

    @classmethod
    @abstractmethod
    def fit_tokenizer(cls, model: PreTrainedModel, tokenizer: Tokenizer, where: str) -> None:
        """Adapts a pretrained model to the tokenizer.

        Raises:
            BenchError: the weights, loaded from ``where``, do not fit the tokenizer.
        """

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.model.config.hidden_size)

    @property
    def n_layers(self) -> int:
        """Number of blocks; of an encoder-decoder, the number in each of the two."""
        return int(self.model.config.num_hidden_layers)

    @property
    def positions(self) -> int:
        """Length of the longest sequence that the stack takes; of a decoder-only stack, the condition included."""
        return int(self.model.config.max_position_embeddings)

    @property
    def initial_std(self) -> float:
        """Standard deviation of the weights before training; networks that a system adds start with the same."""
        return float(self.model.config.initializer_range)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, special tokens included."""
        return int(self.model.config.vocab_size)

    @abstractmethod
    def encode(self, batch: Batch) -> EncoderOutput:
        """Runs the encoder over the texts: every token attends to every token of its text, none to padding."""

    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """Returns all blocks."""

    def run_blocks(
        self,
        blocks: Iterable[nn.Module],
        states: Tensor,
        replaced: Mapping[int, Mapping[str, Tensor]] | None = None,
        **keywords: Any,
    ) -> tuple[Tensor, ...]:
        """Runs blocks one after the other and returns the output of each (B x T x width).

        Args:
            blocks: blocks of the model.
            states: embedded tokens (B x T x width).
            replaced: values that replace parameters in this pass: by the block's index, by the name in the block.
            **keywords: passed to every block.
        """

        def run(block: nn.Module, weights: Mapping[str, Tensor] | None, states: Tensor) -> Tensor:
            if weights is None:
                return cast(Tensor, block(states, **keywords))
            return cast(Tensor, torch.func.functional_call(block, dict(weights), (states,), keywords))

        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        outputs: list[Tensor] = []
        for index, block in enumerate(blocks):
            weights = None if replaced is None else replaced.get(index)
            if recompute:
                states = checkpoint(run, block, weights, states, use_reentrant=False)
            else:
                states = run(block, weights, states)
            outputs.append(states)
        return tuple(outputs)


def scaled_std(width: int) -> float:
    """Returns the standard deviation of initial weights.

    GPT-2 and BART use 0.02 at a width of 768; other widths are scaled so that signals start equally strong.
    """
    return 0.02 * (768 / width) ** 0.5


@contextmanager
def compiled(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Compiles blocks with ``torch.compile`` while the context lasts; one compiled kernel serves all lengths."""
    # torch counts all blocks as the same code, each with passes of several kinds, and stops compiling at its limit.
    with torch._dynamo.config.patch(recompile_limit=16 * len(blocks)):
        for block in blocks:
            block.forward = torch.compile(block.forward, dynamic=True)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def padding_mask(batch: Batch) -> Tensor | None:
    """Returns True where attention may look (B x 1 x 1 x T), or None if no text is padded."""
    return batch.mask[:, None, None] if batch.padded else None

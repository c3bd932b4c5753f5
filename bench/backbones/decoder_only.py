"""Decoder-only backbones: one causal language model that encodes bidirectionally and decodes causally.

Both passes use the same weights. A condition stands in front of its text: [BOS source EOS] [BOS target EOS].
The families are in ``bench.backbones.families``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from bench.backbones.backbone import Backbone
from bench.backbones.injection import Injection
from bench.backbones.stack import EncoderOutput, padding_mask, scaled_std
from bench.batch import Batch
from bench.specs import StackSpec
from bench.tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DecoderOnly(Backbone):
    """A causal language model as encoder and decoder; a subclass says where its family keeps what."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        super().__init__(model, tokenizer)
        # Texts are padded on the right and never read beyond their end: no padding mask, no warning about one.
        model.config.pad_token_id = None
        model.config.bos_token_id, model.config.eos_token_id = tokenizer.bos, tokenizer.eos

    @classmethod
    @override
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        return {
            "initializer_range": scaled_std(spec.width),
            "bos_token_id": tokenizer.bos,
            "eos_token_id": tokenizer.eos,
        }

    @abstractmethod
    def run(
        self, embedded: Tensor, replaced: Mapping[int, Mapping[str, Tensor]] | None = None, **keywords: Any
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Runs the stack over embedded tokens at positions 0, 1, ... (B x T x width).

        Args:
            embedded: embeddings of the tokens, without positions.
            replaced: as for ``run_blocks``.
            **keywords: passed to every block.

        Returns:
            The outputs of all blocks, and the output of the stack after its last norm.
        """

    @override
    def encode(self, batch: Batch) -> EncoderOutput:
        embedded = self.model.get_input_embeddings()(batch.ids)
        layers, last = self.run(embedded, attention_mask=padding_mask(batch), is_causal=False)
        return EncoderOutput(layers, last, last[:, 0], batch.mask)

    @override
    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs the stack causally over [condition] text; the n samples of a text are adjacent rows."""
        ids, starts = _condition_and_text(batch)
        embedded = injection.embedded(self.model.get_input_embeddings()(ids).repeat_interleave(n, dim=0))
        # Texts are padded on the right, where none of their tokens looks: causal attention needs no padding mask.
        weights = self.merged_value_maps(injection)
        _, last = self.run(embedded, weights, is_causal=True, decoder_injection=injection)
        return last, starts

    @override
    def prompt(self, n: int, condition: Batch | None) -> dict[str, Tensor]:
        """Returns [condition] BOS, padded on the LEFT, so that the first new token follows BOS in every row."""
        sources: list[list[int]] = [[]] if condition is None else condition.unpadded()
        rows = [[*source, self.tokenizer.bos] for source in sources for _ in range(n)]
        longest = max(map(len, rows))
        ids = [[self.tokenizer.pad] * (longest - len(row)) + row for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        return {
            "input_ids": torch.tensor(ids, device=self.model.device),
            "attention_mask": torch.tensor(mask, device=self.model.device),
        }


def _condition_and_text(batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the decoder's input ids, each condition directly followed by its text, and the texts' first positions."""
    if batch.condition is None:
        return batch.inputs, torch.zeros(len(batch), dtype=torch.long, device=batch.ids.device)
    condition, inputs = batch.condition, batch.inputs
    starts = condition.mask.sum(1)
    position = torch.arange(condition.ids.shape[1] + inputs.shape[1], device=inputs.device)[None]
    source = condition.ids.gather(1, position.clamp(max=condition.ids.shape[1] - 1).expand(len(batch), -1))
    target = inputs.gather(1, (position - starts[:, None]).clamp(0, inputs.shape[1] - 1))
    return torch.where(position < starts[:, None], source, target), starts

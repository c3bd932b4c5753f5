"""The decoder-only backbone: one Hugging Face GPT-2 that encodes bidirectionally and decodes causally.

Both passes use the same weights. A condition stands in front of its text: [BOS source EOS] [BOS target EOS].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions
from typing_extensions import override

from bench.backbones.backbone import Backbone
from bench.backbones.injection import Injection
from bench.backbones.stack import EncoderOutput, padding_mask, scaled_std
from bench.batch import Batch
from bench.specs import StackSpec
from bench.tokenizers import Tokenizer


class InjectedGPT2(GPT2LMHeadModel):  # type: ignore[misc]  # transformers is not typed to mypy
    """GPT-2 that takes the keywords of an injection; see ``bench.backbones.injection``."""

    def forward(  # type: ignore[no-untyped-def]  # the base's many optional arguments pass through
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        decoder_injection: Injection | None = None,
        **kwargs,
    ) -> CausalLMOutputWithCrossAttentions:
        """Runs GPT-2 on ids with an injection, one row per sequence.

        ``position_ids`` is named here because ``generate`` passes it only to a forward that names it. Positions then
        count tokens and not padding: a prompt padded on the left gives the same text as without padding.
        """
        injection = decoder_injection or Injection()
        kwargs |= {"position_ids": position_ids, "decoder_injection": injection}
        output = super().forward(inputs_embeds=injection.embedded(self.transformer.wte(input_ids)), **kwargs)
        output.logits = injection.scored(output.logits)
        return output


class DecoderOnly(Backbone):
    """GPT-2 as encoder and decoder."""

    model_class = InjectedGPT2

    def __init__(self, model: InjectedGPT2, tokenizer: Tokenizer) -> None:
        super().__init__(model, tokenizer)
        # Texts are padded on the right and never read beyond their end: no padding mask, no warning about one.
        model.config.pad_token_id = None
        model.config.bos_token_id, model.config.eos_token_id = tokenizer.bos, tokenizer.eos

    @classmethod
    @override
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        return {
            "activation_function": "gelu_pytorch_tanh",  # the formula of gelu_new in one kernel
            "initializer_range": scaled_std(spec.width),
            "bos_token_id": tokenizer.bos,
            "eos_token_id": tokenizer.eos,
        }

    @classmethod
    @override
    def dropout_settings(cls, p: float) -> dict[str, float]:
        return {"resid_pdrop": p, "embd_pdrop": p, "attn_pdrop": p}

    @override
    def blocks(self) -> Sequence[nn.Module]:
        return cast("Sequence[nn.Module]", self.model.transformer.h)

    @override
    def encode(self, batch: Batch) -> EncoderOutput:
        embedded = self.model.transformer.wte(batch.ids)
        layers, last = self._run(embedded, attention_mask=padding_mask(batch), is_causal=False)
        return EncoderOutput(layers, last, last[:, 0], batch.mask)

    @override
    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs GPT-2 causally over [condition] text; the n samples of a text are adjacent rows."""
        ids, starts = _condition_and_text(batch)
        embedded = injection.embedded(self.model.transformer.wte(ids).repeat_interleave(n, dim=0))
        # Texts are padded on the right, where none of their tokens looks: causal attention needs no padding mask.
        weights = self.merged_value_maps(injection)
        _, last = self._run(embedded, weights, is_causal=True, decoder_injection=injection)
        return last, starts

    def _run(
        self, embedded: Tensor, replaced: Mapping[int, Mapping[str, Tensor]] | None = None, **keywords: Any
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Returns the outputs of all blocks for embedded tokens (B x T x width), and the output of the stack."""
        gpt2 = self.model.transformer
        positions = gpt2.wpe(torch.arange(embedded.shape[1], device=embedded.device))
        layers = self.run_blocks(self.blocks(), gpt2.drop(embedded + positions), replaced, **keywords)
        return layers, gpt2.ln_f(layers[-1])

    @override
    def merge_value_map(self, block: Any, value_map: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        # One map makes queries, keys and values; its weight is inputs x outputs, a value map is outputs x inputs.
        projection = block.attn.c_attn
        start = 2 * self.width
        weight = torch.cat([projection.weight[:, :start], projection.weight[:, start:] @ value_map.T], 1)
        value_bias = projection.bias[start:] @ value_map.T
        if bias is not None:
            value_bias = value_bias + bias
        return {
            "attn.c_attn.weight": weight,
            "attn.c_attn.bias": torch.cat([projection.bias[:start], value_bias]),
        }

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

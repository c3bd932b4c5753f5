"""The decoder-only backbone: one Hugging Face GPT-2 that encodes bidirectionally and decodes causally.

Both passes use the same weights. A condition stands in front of its text: [BOS source EOS] [BOS target EOS].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from bench.backbones.backbone import Backbone, fit_vocabulary
from bench.backbones.injection import ATTENTION, Injection
from bench.backbones.stack import Encoded, padding_mask, scaled_std
from bench.batch import Batch
from bench.specs import BackboneSpec
from bench.tokenizers import Tokenizer


class InjectedGPT2(GPT2LMHeadModel):  # type: ignore[misc]  # transformers is not typed to mypy
    """GPT-2 that adds to token embeddings and logits what its keywords carry; attention takes the rest itself."""

    def forward(  # type: ignore[no-untyped-def]  # the base's many optional arguments pass through
        self,
        input_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_embedding: Tensor | None = None,
        decoder_logits: Tensor | None = None,
        decoder_memory: Tensor | None = None,
        decoder_gate: Tensor | None = None,
        decoder_shift: Tensor | None = None,
        decoder_values: tuple[Tensor, Tensor | None] | None = None,
        **kwargs,
    ) -> CausalLMOutputWithCrossAttentions:
        """Runs GPT-2 on ids with the injection's tensors, one row per sequence.

        Generation looks for ``position_ids`` by name, and then counts tokens, not padding: a prompt padded on the left
        reads as it would alone.
        """
        if decoder_embedding is not None:
            kwargs["inputs_embeds"] = self.transformer.wte(input_ids) + decoder_embedding[:, None]
            input_ids = None
        injected = {
            "decoder_memory": decoder_memory,
            "decoder_gate": decoder_gate,
            "decoder_shift": decoder_shift,
            "decoder_values": decoder_values,
        }
        given = {k: v for k, v in injected.items() if v is not None}
        output = super().forward(input_ids, position_ids=position_ids, **given, **kwargs)
        if decoder_logits is not None:
            output.logits = output.logits + decoder_logits[:, None]
        return output


class DecoderOnly(Backbone):
    """GPT-2 as encoder and decoder."""

    def __init__(self, model: InjectedGPT2, tokenizer: Tokenizer) -> None:
        super().__init__(model, tokenizer)
        # Texts are padded on the right and never read beyond their end: no padding mask, no warning about one.
        model.config.pad_token_id = None
        model.config.bos_token_id, model.config.eos_token_id = tokenizer.bos, tokenizer.eos
        self.give_memory(range(self.n_layers))

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.model.config.n_embd)

    @property
    def n_layers(self) -> int:
        """Number of blocks, which encoder and decoder share."""
        return int(self.model.config.n_layer)

    @property
    def positions(self) -> int:
        """Longest sequence, a condition included."""
        return int(self.model.config.n_positions)

    @property
    def initial_std(self) -> float:
        """Standard deviation of the weights before any training."""
        return float(self.model.config.initializer_range)

    def blocks(self) -> Sequence[nn.Module]:
        """Returns all blocks."""
        return cast("Sequence[nn.Module]", self.model.transformer.h)

    def decoder_attention(self) -> Sequence[nn.Module]:
        """Returns the attention of every block."""
        return [block.attn for block in self.model.transformer.h]

    def encode(self, batch: Batch) -> Encoded:
        """Runs all blocks with every token seeing every other; padding is seen by none."""
        embedded = self.model.transformer.wte(batch.ids)
        layers, last = self._run(embedded, attention_mask=padding_mask(batch), is_causal=False)
        return Encoded(layers, last, last[:, 0], batch.mask)

    def _run(
        self, embedded: Tensor, merged: Mapping[int, Mapping[str, Tensor]] | None = None, **keywords: Any
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Returns the outputs of all blocks for embedded tokens (B x T x width), and that of the stack."""
        gpt2 = self.model.transformer
        places = gpt2.wpe(torch.arange(embedded.shape[1], device=embedded.device))
        layers = self.through(self.blocks(), gpt2.drop(embedded + places), merged, **keywords)
        return layers, gpt2.ln_f(layers[-1])

    def merged_values(self, injection: Injection) -> dict[int, dict[str, Tensor]]:
        """Returns the fused query-key-value weights of the gated layers, W_v merged into the values."""
        merged: dict[int, dict[str, Tensor]] = {}
        for index, layer in enumerate(injection.merged_layers):
            attention = self.model.transformer.h[layer].attn.c_attn
            split = 2 * self.width
            # GPT-2 keeps its linear maps as inputs x outputs, an injection's as outputs x inputs.
            map_ = injection.values[index].T  # type: ignore[index]
            weight = torch.cat([attention.weight[:, :split], attention.weight[:, split:] @ map_], 1)
            bias = attention.bias[split:] @ map_
            if injection.value_bias is not None:
                bias = bias + injection.value_bias[index]
            bias = torch.cat([attention.bias[:split], bias])
            merged[layer] = {"attn.c_attn.weight": weight, "attn.c_attn.bias": bias}
        return merged

    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs GPT-2 causally over [condition] text, the samples of a text side by side."""
        ids, starts = _joined(batch)
        embedded = injection.embedded(self.model.transformer.wte(ids), n)
        # Texts are padded on the right, where no token of theirs looks: plain causal attention needs no mask.
        _, last = self._run(embedded, self.merged_values(injection), is_causal=True, **injection.attention_keywords())
        return last, starts

    def prompt(self, n: int, condition: Batch | None) -> dict[str, Tensor]:
        """Returns [condition] BOS, padded on the LEFT: the first new token follows BOS in every row."""
        device, bos = self.model.device, self.tokenizer.bos
        if condition is None:
            ids = torch.full((n, 1), bos, device=device)
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        rows, length = condition.ids.shape
        shift = length - condition.mask.sum(1, keepdim=True)
        source = torch.arange(length, device=device) - shift
        ids = condition.ids.gather(1, source.clamp(min=0)).masked_fill(source < 0, self.tokenizer.pad)
        ids = torch.cat([ids, torch.full((rows, 1), bos, device=device)], dim=1)
        mask = torch.cat([source >= 0, torch.ones(rows, 1, dtype=torch.bool, device=device)], dim=1)
        return {
            "input_ids": ids.repeat_interleave(n, dim=0),
            "attention_mask": mask.long().repeat_interleave(n, dim=0),
        }


def _joined(batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the decoder's input ids, each condition directly in front of its text, and where the texts begin."""
    if batch.condition is None:
        return batch.inputs, torch.zeros(len(batch), dtype=torch.long, device=batch.ids.device)
    condition, inputs = batch.condition, batch.inputs
    starts = condition.mask.sum(1)
    place = torch.arange(condition.ids.shape[1] + inputs.shape[1], device=inputs.device)[None]
    in_source = place < starts[:, None]
    source = condition.ids.gather(1, place.clamp(max=condition.ids.shape[1] - 1).expand(len(batch), -1))
    target = inputs.gather(1, (place - starts[:, None]).clamp(0, inputs.shape[1] - 1))
    return torch.where(in_source, source, target), starts


def scratch_gpt2(spec: BackboneSpec, tokenizer: Tokenizer) -> DecoderOnly:
    """Builds GPT-2 of the given size with random weights from torch's global generator."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=spec.positions,
        n_embd=spec.width,
        n_layer=spec.layers,
        n_head=spec.heads,
        activation_function="gelu_pytorch_tanh",  # the formula of gelu_new in one kernel
        initializer_range=scaled_std(spec.width),
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
        attn_implementation=ATTENTION,
        **_dropout(spec),
    )
    return DecoderOnly(InjectedGPT2(config), tokenizer)


def pretrained_gpt2(spec: BackboneSpec, where: str, tokenizer: Tokenizer) -> DecoderOnly:
    """Loads GPT-2 from a folder or the hub; its vocabulary grows by the special tokens that it lacks."""
    model = InjectedGPT2.from_pretrained(
        where,
        revision=spec.revision,
        attn_implementation=ATTENTION,
        use_safetensors=True,
        dtype=torch.float32,
        **_dropout(spec),
    )
    fit_vocabulary(model, tokenizer, where)
    return DecoderOnly(model, tokenizer)


def _dropout(spec: BackboneSpec) -> dict[str, float]:
    return {f"{place}_pdrop": spec.dropout for place in ("resid", "embd", "attn")}

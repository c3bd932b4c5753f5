"""The encoder-decoder backbone: a Hugging Face BART whose encoder reads source and target, and whose decoder writes.

Encoder and decoder do not share weights. The decoder's cross-attention to the source stays as it is; injections enter
the decoder's self-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.models.bart.modeling_bart import BartDecoder, BartEncoder

from bench.backbones.backbone import Backbone, fit_vocabulary
from bench.backbones.injection import ATTENTION, Injection
from bench.backbones.stack import Encoded, padding_mask, scaled_std
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import BackboneSpec
from bench.tokenizers import Tokenizer


class InjectedBart(BartForConditionalGeneration):  # type: ignore[misc]  # transformers is not typed to mypy
    """BART that adds to the decoder's token embeddings and logits what its keywords carry."""

    def forward(  # type: ignore[no-untyped-def]  # the base's many optional arguments pass through
        self,
        input_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_embedding: Tensor | None = None,
        decoder_logits: Tensor | None = None,
        decoder_memory: Tensor | None = None,
        decoder_gate: Tensor | None = None,
        decoder_shift: Tensor | None = None,
        decoder_values: tuple[Tensor, Tensor | None] | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        """Runs BART with the injection's tensors, one row per sequence."""
        if decoder_embedding is not None:
            kwargs["decoder_inputs_embeds"] = (
                self.model.decoder.embed_tokens(decoder_input_ids) + decoder_embedding[:, None]
            )
            decoder_input_ids = None
        injected = {
            "decoder_memory": decoder_memory,
            "decoder_gate": decoder_gate,
            "decoder_shift": decoder_shift,
            "decoder_values": decoder_values,
        }
        output = super().forward(
            input_ids,
            decoder_input_ids=decoder_input_ids,
            **{k: v for k, v in injected.items() if v is not None},
            **kwargs,
        )
        if decoder_logits is not None:
            output.logits = output.logits + decoder_logits[:, None]
        return output


class EncoderDecoder(Backbone):
    """BART; every text has a condition."""

    def __init__(self, model: InjectedBart, tokenizer: Tokenizer) -> None:
        super().__init__(model, tokenizer)
        self.give_memory(range(self.n_layers))

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.model.config.d_model)

    @property
    def n_layers(self) -> int:
        """Number of blocks of the decoder, and as many of the encoder."""
        return int(self.model.config.decoder_layers)

    @property
    def positions(self) -> int:
        """Longest source, and longest target."""
        return int(self.model.config.max_position_embeddings)

    @property
    def initial_std(self) -> float:
        """Standard deviation of the weights before any training."""
        return float(self.model.config.init_std)

    def blocks(self) -> Sequence[nn.Module]:
        """Returns the blocks of the encoder, then those of the decoder."""
        return [*self.model.model.encoder.layers, *self.decoder_blocks()]

    def decoder_blocks(self) -> Sequence[nn.Module]:
        """Returns the blocks of the decoder."""
        return cast("Sequence[nn.Module]", self.model.model.decoder.layers)

    def decoder_attention(self) -> Sequence[nn.Module]:
        """Returns the self-attention of every decoder block."""
        return [block.self_attn for block in self.model.model.decoder.layers]

    def encode(self, batch: Batch) -> Encoded:
        """Runs the encoder over the texts themselves (sources or targets)."""
        encoder = self.model.model.encoder
        states = _embedded(encoder, encoder.embed_tokens(batch.ids))
        layers = self.through(encoder.layers, states, attention_mask=padding_mask(batch))
        return Encoded(layers, layers[-1], layers[-1][:, 0], batch.mask)

    def merged_values(self, injection: Injection) -> dict[int, dict[str, Tensor]]:
        """Returns the value projections of the gated layers' self-attention composed with W_v."""
        merged: dict[int, dict[str, Tensor]] = {}
        for index, layer in enumerate(injection.merged_layers):
            projection = self.model.model.decoder.layers[layer].self_attn.v_proj
            map_ = injection.values[index]  # type: ignore[index]
            weight, bias = map_ @ projection.weight, map_ @ projection.bias
            if injection.value_bias is not None:
                bias = bias + injection.value_bias[index]
            merged[layer] = {"self_attn.v_proj.weight": weight, "self_attn.v_proj.bias": bias}
        return merged

    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs the decoder over the targets with cross-attention to their sources, which are encoded once."""
        if batch.condition is None:
            raise BenchError("an encoder-decoder backbone needs a condition; the task has none.")
        decoder, condition = self.model.model.decoder, batch.condition
        source = self.encode(condition).last.repeat_interleave(n, dim=0)
        embedded = injection.embedded(decoder.embed_tokens(batch.inputs), n)
        seen = padding_mask(condition)
        layers = self.through(
            self.decoder_blocks(),
            _embedded(decoder, embedded),
            self.merged_values(injection),
            encoder_hidden_states=source,
            encoder_attention_mask=None if seen is None else seen.repeat_interleave(n, dim=0),
            use_cache=False,
            **injection.attention_keywords(),
        )
        return layers[-1], torch.zeros(len(batch), dtype=torch.long, device=batch.ids.device)

    def next_token_logits(self, hidden: Tensor) -> Tensor:
        """Returns the scores of the token after each hidden state (P x vocabulary), with BART's fixed bias."""
        return super().next_token_logits(hidden) + self.model.final_logits_bias[0]

    def prompt(self, n: int, condition: Batch | None) -> dict[str, Tensor]:
        """Returns the sources for the encoder and BOS for the decoder."""
        if condition is None:
            raise BenchError("an encoder-decoder backbone needs a condition; the task has none.")
        ids = condition.ids.repeat_interleave(n, dim=0)
        return {
            "input_ids": ids,
            "attention_mask": condition.mask.long().repeat_interleave(n, dim=0),
            "decoder_input_ids": torch.full((len(ids), 1), self.tokenizer.bos, device=ids.device),
        }


def _embedded(half: BartEncoder | BartDecoder, tokens: Tensor) -> Tensor:
    """Returns what the first block of encoder or decoder takes for embedded tokens (B x T x width)."""
    states = half.layernorm_embedding(tokens + half.embed_positions(tokens[:, :, 0]))
    return nn.functional.dropout(states, half.dropout, half.training)


def scratch_bart(spec: BackboneSpec, tokenizer: Tokenizer) -> EncoderDecoder:
    """Builds BART of the given size (as many encoder as decoder layers) with random weights."""
    config = BartConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=spec.positions,
        d_model=spec.width,
        encoder_layers=spec.layers,
        decoder_layers=spec.layers,
        encoder_attention_heads=spec.heads,
        decoder_attention_heads=spec.heads,
        encoder_ffn_dim=4 * spec.width,
        decoder_ffn_dim=4 * spec.width,
        init_std=scaled_std(spec.width),
        attn_implementation=ATTENTION,
        **_dropout(spec),
        **_special_tokens(tokenizer),
    )
    return EncoderDecoder(InjectedBart(config), tokenizer)


def pretrained_bart(spec: BackboneSpec, where: str, tokenizer: Tokenizer) -> EncoderDecoder:
    """Loads BART from a folder or the hub; its vocabulary grows by the special tokens that it lacks."""
    model = InjectedBart.from_pretrained(
        where,
        revision=spec.revision,
        attn_implementation=ATTENTION,
        use_safetensors=True,
        dtype=torch.float32,
        **_dropout(spec),
    )
    if model.config.encoder_layers != model.config.decoder_layers:
        raise BenchError(
            f"{where}: {model.config.encoder_layers} encoder and {model.config.decoder_layers} decoder layers;"
            " an encoder-decoder backbone takes as many of one as of the other."
        )
    fit_vocabulary(model, tokenizer, where)
    # Padding may have been another token, which is one like all others now; its embedding was kept from learning.
    model.config.update(_special_tokens(tokenizer))
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.padding_idx = tokenizer.pad
    return EncoderDecoder(model, tokenizer)


def _dropout(spec: BackboneSpec) -> dict[str, float]:
    dropped = {"dropout": spec.dropout, "attention_dropout": spec.dropout}
    return {**dropped, "activation_dropout": 0.0, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}


def _special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    return {
        "pad_token_id": tokenizer.pad,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "decoder_start_token_id": tokenizer.bos,
    }

"""The encoder-decoder backbone: a Hugging Face BART whose encoder reads source and target, and whose decoder writes.

Encoder and decoder do not share weights. The decoder's cross-attention to the source stays as it is; injections enter
the decoder's self-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.backbones.backbone import Backbone
from bench.backbones.injection import Injection
from bench.backbones.stack import EncoderOutput, padding_mask, scaled_std
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import StackSpec
from bench.tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.models.bart.modeling_bart import BartDecoder, BartEncoder


class EncoderDecoder(Backbone):
    """BART; every text has a condition."""

    model_name = "InjectedBart"
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")

    @classmethod
    @override
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        return {
            "decoder_layers": spec.layers,
            "decoder_attention_heads": spec.heads,
            "encoder_ffn_dim": 4 * spec.width,
            "decoder_ffn_dim": 4 * spec.width,
            "init_std": scaled_std(spec.width),
            **_special_tokens(tokenizer),
        }

    @classmethod
    @override
    def dropout_settings(cls, p: float) -> dict[str, float]:
        zeros = dict.fromkeys(("activation_dropout", "encoder_layerdrop", "decoder_layerdrop"), 0.0)
        return {"dropout": p, "attention_dropout": p, **zeros}

    @classmethod
    @override
    def fit_tokenizer(cls, model: PreTrainedModel, tokenizer: Tokenizer, where: str) -> None:
        if model.config.encoder_layers != model.config.decoder_layers:
            raise BenchError(
                f"{where}: {model.config.encoder_layers} encoder and {model.config.decoder_layers} decoder layers;"
                " an encoder-decoder backbone takes as many of one as of the other."
            )
        super().fit_tokenizer(model, tokenizer, where)
        # The folder may pad with a different token. That token is an ordinary one now: its embedding has to learn.
        model.config.update(_special_tokens(tokenizer))
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.padding_idx = tokenizer.pad

    @property
    @override
    def initial_std(self) -> float:
        return float(self.model.config.init_std)

    @override
    def blocks(self) -> Sequence[nn.Module]:
        return [*self.model.model.encoder.layers, *self.decoder_blocks()]

    @override
    def decoder_blocks(self) -> Sequence[nn.Module]:
        return cast("Sequence[nn.Module]", self.model.model.decoder.layers)

    @override
    def encode(self, batch: Batch) -> EncoderOutput:
        """Runs the encoder over the texts of the batch, which are sources or targets."""
        encoder = self.model.model.encoder
        states = _embedded(encoder, encoder.embed_tokens(batch.ids))
        layers = self.run_blocks(encoder.layers, states, attention_mask=padding_mask(batch))
        return EncoderOutput(layers, layers[-1], layers[-1][:, 0], batch.mask)

    @override
    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs the decoder over the targets with cross-attention to their sources, which are encoded once."""
        condition, decoder = _required(batch.condition), self.model.model.decoder
        source = self.encode(condition).last.repeat_interleave(n, dim=0)
        embedded = injection.embedded(decoder.embed_tokens(batch.inputs).repeat_interleave(n, dim=0))
        mask = padding_mask(condition)
        layers = self.run_blocks(
            self.decoder_blocks(),
            _embedded(decoder, embedded),
            self.merged_value_maps(injection),
            encoder_hidden_states=source,
            encoder_attention_mask=None if mask is None else mask.repeat_interleave(n, dim=0),
            use_cache=False,
            decoder_injection=injection,
        )
        return layers[-1], torch.zeros(len(batch), dtype=torch.long, device=batch.ids.device)

    @override
    def merge_value_map(self, block: Any, value_map: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        projection = block.self_attn.v_proj
        merged = value_map @ projection.bias
        return {
            "self_attn.v_proj.weight": value_map @ projection.weight,
            "self_attn.v_proj.bias": merged if bias is None else merged + bias,
        }

    @override
    def next_token_logits(self, hidden: Tensor) -> Tensor:
        return super().next_token_logits(hidden) + self.model.final_logits_bias[0]

    @override
    def prompt(self, n: int, condition: Batch | None) -> dict[str, Tensor]:
        """Returns the sources for the encoder and BOS for the decoder."""
        condition = _required(condition)
        ids = condition.ids.repeat_interleave(n, dim=0)
        return {
            "input_ids": ids,
            "attention_mask": condition.mask.long().repeat_interleave(n, dim=0),
            "decoder_input_ids": torch.full((len(ids), 1), self.tokenizer.bos, device=ids.device),
        }


def _required(condition: Batch | None) -> Batch:
    if condition is None:
        raise BenchError("an encoder-decoder backbone needs a condition; the task has none.")
    return condition


def _embedded(half: BartEncoder | BartDecoder, tokens: Tensor) -> Tensor:
    """Returns the input of the first block of encoder or decoder for embedded tokens (B x T x width)."""
    states = half.layernorm_embedding(tokens + half.embed_positions(tokens[:, :, 0]))
    return nn.functional.dropout(states, half.dropout, half.training)


def _special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    return {
        "pad_token_id": tokenizer.pad,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "decoder_start_token_id": tokenizer.bos,
    }

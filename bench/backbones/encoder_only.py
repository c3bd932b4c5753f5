"""The encoder-only stack: a Hugging Face BERT, for systems that do not encode with their backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from transformers import BertConfig, BertModel

from bench.backbones.injection import ATTENTION
from bench.backbones.stack import Encoded, Stack, padding_mask
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import EncoderSpec
from bench.tokenizers import Tokenizer


class EncoderOnly(Stack):
    """BERT with its pooler; it reads ``Batch.encoder``, the texts in tokens of its own."""

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.model.config.hidden_size)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.model.config.num_hidden_layers)

    @property
    def positions(self) -> int:
        """Longest text."""
        return int(self.model.config.max_position_embeddings)

    @property
    def initial_std(self) -> float:
        """Standard deviation of the weights before any training."""
        return float(self.model.config.initializer_range)

    def blocks(self) -> Sequence[nn.Module]:
        """Returns all blocks."""
        return cast("Sequence[nn.Module]", self.model.encoder.layer)

    def encode(self, batch: Batch) -> Encoded:
        """Runs BERT over the texts in its own tokens, [CLS] first; the pooler is tanh of a linear map of that state.

        Raises:
            BenchError: the batch was made without the encoder's tokens.
        """
        texts = batch.encoder
        if texts is None:
            raise BenchError("the batch lacks its texts in the tokens of the encoder.")
        bert = self.model
        layers = self.through(self.blocks(), bert.embeddings(texts.ids), attention_mask=padding_mask(texts))
        return Encoded(layers, layers[-1], bert.pooler(layers[-1]), texts.mask)


def scratch_bert(spec: EncoderSpec, tokenizer: Tokenizer) -> EncoderOnly:
    """Builds BERT of the given size with random weights from torch's global generator."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=spec.positions,
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=4 * spec.width,
        # BERT normalises every sum, so that beside its own state [CLS] hears little of the others; with BERT's 0.02,
        # scaled or not, too little for a posterior to see the text in a short training.
        initializer_range=spec.width**-0.5,
        pad_token_id=tokenizer.pad,
        **_settings(spec),
    )
    return EncoderOnly(BertModel(config), tokenizer)


def pretrained_bert(spec: EncoderSpec, where: str, tokenizer: Tokenizer) -> EncoderOnly:
    """Loads BERT from a folder or the hub.

    Raises:
        BenchError: it knows fewer tokens than its tokenizer makes.
    """
    model = BertModel.from_pretrained(
        where, revision=spec.revision, use_safetensors=True, dtype=torch.float32, **_settings(spec)
    )
    if len(tokenizer) > (known := model.config.vocab_size):
        raise BenchError(f"{where}: weights for {known} tokens, but the tokenizer has {len(tokenizer)}.")
    return EncoderOnly(model, tokenizer)


def _settings(spec: EncoderSpec) -> dict[str, float | str]:
    return {
        "hidden_dropout_prob": spec.dropout,
        "attention_probs_dropout_prob": spec.dropout,
        "attn_implementation": ATTENTION,
    }

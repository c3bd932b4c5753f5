"""Tiny pretrained models in folders, as transformers saves them, with a tokenizer of bytes, or BERT's of words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from bench.specs import BackboneKind

BYTES, SPECIAL, POSITIONS = 256, 3, 64
"""Tokens of the tokenizer, those the suite adds to them, and the longest sequence of the models."""


def gpt2(vocab_size: int = BYTES, tie_word_embeddings: bool = True) -> GPT2LMHeadModel:
    config = GPT2Config(
        tie_word_embeddings=tie_word_embeddings,
        vocab_size=vocab_size,
        n_positions=POSITIONS,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
        resid_pdrop=0.3,
    )
    return GPT2LMHeadModel(config)


def bart(vocab_size: int = BYTES, encoder_layers: int = 2) -> BartForConditionalGeneration:
    config = BartConfig(
        vocab_size=vocab_size,
        max_position_embeddings=POSITIONS,
        d_model=16,
        encoder_layers=encoder_layers,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=32,
        init_std=0.3,
        scale_embedding=True,
        dropout=0.3,
        activation_dropout=0.3,
        decoder_layerdrop=0.3,
    )
    model = BartForConditionalGeneration(config)
    model.final_logits_bias.normal_()
    return model


LLAMAS: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
"""The families that are built like Llama."""


def llama(family: str = "llama", vocab_size: int = BYTES, tie_word_embeddings: bool = False) -> PreTrainedModel:
    """Two heads of queries share a head of keys and values; by default, as in large models, the head is not tied."""
    config, model = LLAMAS[family]
    made = model(
        config(
            vocab_size=vocab_size,
            max_position_embeddings=POSITIONS,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
            tie_word_embeddings=tie_word_embeddings,
        )
    )
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):  # of Qwen2; zero at first
            nn.init.normal_(parameter)
    return made


MODELS: dict[BackboneKind, Any] = {"decoder-only": gpt2, "encoder-decoder": bart}


def save(kind: BackboneKind, folder: Path, family: str | None = None, **changes: int) -> Path:
    """Saves a model with weights that are always the same; keywords are those of its function above."""
    torch.manual_seed(0)
    model: PreTrainedModel = llama(family, **changes) if family in LLAMAS else MODELS[kind](**changes)
    model.save_pretrained(folder)
    alphabet = sorted(ByteLevel.alphabet())
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(alphabet)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


BERT_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "##s", ".", "a", "no", "run", "on")


def save_bert(folder: Path, seed: int = 0) -> Path:
    """Saves an encoder and its tokenizer."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(BERT_WORDS),
        max_position_embeddings=POSITIONS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer({word: place for place, word in enumerate(BERT_WORDS)}).save_pretrained(folder)
    return folder

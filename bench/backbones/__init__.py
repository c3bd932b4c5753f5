"""The Transformer stacks and tokenizers that every system stands on."""

from bench.backbones.backbone import Backbone
from bench.backbones.build import build_backbone, build_encoder, build_foundation, check_backbone, check_encoder
from bench.backbones.decoding import decode_stepwise
from bench.backbones.encoder_only import EncoderOnly
from bench.backbones.foundation import BareFoundation, Foundation
from bench.backbones.injection import Injection
from bench.backbones.likelihood import text_log_likelihood
from bench.backbones.pooling import AttentionPooling
from bench.backbones.stack import Stack, compiled
from bench.backbones.system import InjectedSystem
from bench.tokenizers import (
    BERT_TOKENS,
    Tokenizer,
    build_encoder_tokenizer,
    build_tokenizer,
    load_tokenizer,
    read_tokenizer,
)

__all__ = [
    "BERT_TOKENS",
    "AttentionPooling",
    "Backbone",
    "BareFoundation",
    "EncoderOnly",
    "Foundation",
    "InjectedSystem",
    "Injection",
    "Stack",
    "Tokenizer",
    "build_backbone",
    "build_encoder",
    "build_encoder_tokenizer",
    "build_foundation",
    "build_tokenizer",
    "check_backbone",
    "check_encoder",
    "compiled",
    "decode_stepwise",
    "load_tokenizer",
    "read_tokenizer",
    "text_log_likelihood",
]

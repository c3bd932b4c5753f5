"""The Transformer stacks and tokenizers that every system stands on."""

from bench.backbones.decoder_only import DecoderOnly as Backbone
from bench.backbones.decoder_only import build_backbone
from bench.backbones.injection import Injection
from bench.backbones.pooling import AttentionPooling
from bench.backbones.tokenizers import Tokenizer, build_tokenizer, load_tokenizer

__all__ = [
    "AttentionPooling",
    "Backbone",
    "Injection",
    "Tokenizer",
    "build_backbone",
    "build_tokenizer",
    "load_tokenizer",
]

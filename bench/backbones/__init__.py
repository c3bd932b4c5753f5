"""The Transformer stacks and tokenizers that every system stands on."""

from bench.backbones.backbone import Backbone
from bench.backbones.build import build_backbone
from bench.backbones.injection import Injection
from bench.backbones.pooling import AttentionPooling
from bench.backbones.system import InjectedSystem
from bench.backbones.tokenizers import Tokenizer, build_tokenizer, load_tokenizer

__all__ = [
    "AttentionPooling",
    "Backbone",
    "InjectedSystem",
    "Injection",
    "Tokenizer",
    "build_backbone",
    "build_tokenizer",
    "load_tokenizer",
]

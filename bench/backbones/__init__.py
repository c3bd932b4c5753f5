"""The Transformer stacks that systems use, and the ways in which a latent variable enters a decoder."""

from bench.backbones.backbone import Backbone
from bench.backbones.build import build_backbone, build_encoder, check_backbone, check_encoder
from bench.backbones.decoding import decode_stepwise
from bench.backbones.encoder_only import EncoderOnly
from bench.backbones.injection import Injection
from bench.backbones.likelihood import text_log_likelihood
from bench.backbones.pooling import AttentionPooling
from bench.backbones.stack import TransformerStack, compiled
from bench.backbones.system import InjectedSystem

__all__ = [
    "AttentionPooling",
    "Backbone",
    "EncoderOnly",
    "InjectedSystem",
    "Injection",
    "TransformerStack",
    "build_backbone",
    "build_encoder",
    "check_backbone",
    "check_encoder",
    "compiled",
    "decode_stepwise",
    "text_log_likelihood",
]

"""From a spec to a system with random weights."""

from __future__ import annotations

import torch

from bench.backbones import (
    Tokenizer,
    build_backbone,
    build_encoder,
    build_foundation,
)
from bench.interface import System
from bench.objectives import adapt
from bench.specs import ModelSpec, validated


def build_system(
    cls: type[System],
    spec: ModelSpec,
    tokenizer: Tokenizer,
    encoder_tokenizer: Tokenizer | None = None,
    seed: int = 0,
) -> System:
    """Builds an untrained system of a class, changed as the objective wants it, its weights drawn from ``seed``.

    The caller's random state is kept.

    Raises:
        BenchError: unknown names or options, or a backbone that cannot be built.
    """
    options = validated(cls.Config, spec.system.options, f"system {spec.system.label!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = (build_backbone if cls.uses_transformer else build_foundation)(spec.backbone, tokenizer)
        if spec.encoder is None or encoder_tokenizer is None:
            system = cls(backbone, options, spec.conditional)
        else:
            system = cls(backbone, options, spec.conditional, build_encoder(spec.encoder, encoder_tokenizer))
    adapt(system, spec.objective)
    return system

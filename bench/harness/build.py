"""From a spec to an untrained system."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.backbones import build_backbone, build_encoder, check_backbone
from bench.interface import System
from bench.objectives import apply_adaptations
from bench.reading import parse_as
from bench.specs import ModelSpec
from bench.tokenizers import Tokenizer


def build_system(cls: type[System], spec: ModelSpec, tokenizer: Tokenizer, seed: int = 0) -> System:
    """Builds a system of class ``cls`` with weights drawn from ``seed``, and applies the objective's adaptations.

    The global random state of torch stays as it was.

    Raises:
        BenchError: unknown names or options, or a backbone that cannot be built.
    """
    options = parse_as(cls.Config, spec.system.options, f"system {spec.system.label!r}")
    create: Callable[..., System] = cls  # its arguments depend on the class
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arguments: list[object]
        if cls.uses_transformer:
            arguments = [build_backbone(spec.backbone, tokenizer), options, spec.conditional]
        else:
            arguments = [tokenizer, check_backbone(spec.backbone).width, options, spec.conditional]
        if spec.encoder is not None and tokenizer.encoder is not None:
            arguments.append(build_encoder(spec.encoder, tokenizer.encoder.tokenizer))
        system = create(*arguments)
    apply_adaptations(system, spec.objective)
    return system

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.backbones import build_backbone, build_encoder
from bench.interface import System
from bench.specs import BackboneKind, BackboneSpec, EncoderSpec
from bench.systems import SYSTEMS
from bench.tokenizers import Tokenizer
from tests.moved_weights import move_weights


@pytest.fixture
def make_system(tokenizer: Tokenizer, encoder_tokenizer: Tokenizer) -> Callable[..., System]:
    """Builds a system by name with options, its weights moved unless told not to."""

    def make(
        name: str,
        depth: int = 3,
        seed: int = 0,
        kind: BackboneKind = "decoder-only",
        conditional: bool = False,
        moved: bool = True,
        **options: object,
    ) -> System:
        torch.manual_seed(seed)
        cls = SYSTEMS.get(name)
        size = {"layers": depth, "width": 16, "heads": 2, "positions": 96, "dropout": 0.0}
        backbone = build_backbone(BackboneSpec(kind=kind, **size), tokenizer)
        own = [build_encoder(EncoderSpec(**size), encoder_tokenizer)] if cls.encoder_kind else []
        system = cls(backbone, cls.Config(**options), conditional, *own).eval()
        if moved:
            move_weights(system)
        return system

    return make

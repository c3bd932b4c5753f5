from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.backbones import Backbone, build_backbone
from bench.specs import BackboneSpec
from bench.tokenizers import Tokenizer
from tests.moved_weights import move_weights


@pytest.fixture
def make_backbone(tokenizer: Tokenizer) -> Callable[..., Backbone]:
    """Builds a micro backbone from scratch, its weights moved."""

    def make(seed: int = 0, dtype: torch.dtype = torch.float64, **options: object) -> Backbone:
        torch.manual_seed(seed)
        spec = BackboneSpec(**{"layers": 2, "width": 16, "heads": 2, "positions": 64, "dropout": 0.0, **options})
        backbone = build_backbone(spec, tokenizer).eval().to(dtype)
        move_weights(backbone)
        return backbone

    return make

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.backbones import Backbone, Tokenizer, build_backbone, build_tokenizer
from bench.interface import Batch
from bench.spec import BackboneSpec, TokenizerSpec

TEXTS = (
    "the cat sat on the mat .",
    "a dog runs",
    "the quick brown fox jumps over the lazy dog again and again",
    "no",
    "the dog sat on the brown mat and the cat runs",
)


@pytest.fixture(scope="session")
def tokenizer(_own_cache: None) -> Tokenizer:
    return build_tokenizer(TokenizerSpec(vocabulary_size=300), TEXTS * 3)


@pytest.fixture(scope="session")
def batch(tokenizer: Tokenizer) -> Batch:
    return Batch.collate(tokenizer.encode(TEXTS), tokenizer.pad)


@pytest.fixture
def make_backbone(tokenizer: Tokenizer) -> Callable[..., Backbone]:
    """Builds a micro backbone from scratch, every weight moved away from the round number it begins at."""

    def make(seed: int = 0, dtype: torch.dtype = torch.float64, **options: object) -> Backbone:
        torch.manual_seed(seed)
        spec = BackboneSpec(**{"layers": 2, "width": 16, "heads": 2, "positions": 64, "dropout": 0.0, **options})
        backbone = build_backbone(spec, tokenizer).eval().to(dtype)
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return backbone

    return make

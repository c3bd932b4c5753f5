from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.backbones import Tokenizer, build_backbone, build_tokenizer
from bench.interface import Batch, System
from bench.registry import SYSTEMS
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
def make_system(tokenizer: Tokenizer) -> Callable[..., System]:
    """Builds a system by name with options, its weights moved away from their initial values."""

    def make(name: str, layers: int = 3, seed: int = 0, **options: object) -> System:
        torch.manual_seed(seed)
        cls = SYSTEMS.get(name)
        backbone = build_backbone(BackboneSpec(layers=layers, width=16, heads=2, positions=64, dropout=0.0), tokenizer)
        system = cls(backbone, cls.Config(**options)).eval()
        # Initial weights are small or zero in places; a test on them would not see a term left out.
        with torch.no_grad():
            for parameter in system.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return system

    return make

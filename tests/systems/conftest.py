from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.backbones import Tokenizer, build_backbone, build_tokenizer
from bench.interface import Batch, System
from bench.registry import SYSTEMS
from bench.spec import BackboneKind, BackboneSpec, TokenizerSpec

TEXTS = (
    "the cat sat on the mat .",
    "a dog runs",
    "the quick brown fox jumps over the lazy dog",
    "no",
)


@pytest.fixture(scope="session")
def tokenizer(_own_cache: None) -> Tokenizer:
    return build_tokenizer(TokenizerSpec(vocabulary_size=300), TEXTS * 3)


@pytest.fixture(scope="session")
def batch(tokenizer: Tokenizer) -> Batch:
    return Batch.collate(tokenizer.encode(TEXTS), tokenizer.pad)


SOURCES = ("where is the cat ?", "what does it do", "the fox and the lazy dog .", "who")


@pytest.fixture(scope="session")
def pairs(tokenizer: Tokenizer) -> Batch:
    """The texts, each with a source of another length."""
    return Batch.collate(
        tokenizer.encode(TEXTS), tokenizer.pad, Batch.collate(tokenizer.encode(SOURCES), tokenizer.pad)
    )


@pytest.fixture
def make_system(tokenizer: Tokenizer) -> Callable[..., System]:
    """Builds a system by name with options, its weights moved away from their initial values."""

    def make(
        name: str,
        depth: int = 3,
        seed: int = 0,
        kind: BackboneKind = "decoder-only",
        conditional: bool = False,
        **options: object,
    ) -> System:
        torch.manual_seed(seed)
        cls = SYSTEMS.get(name)
        spec = BackboneSpec(kind=kind, layers=depth, width=16, heads=2, positions=96, dropout=0.0)
        system = cls(build_backbone(spec, tokenizer), cls.Config(**options), conditional).eval()
        # Initial weights are small or zero in places; a test on them would not see a term left out.
        with torch.no_grad():
            for parameter in system.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return system

    return make

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.backbones import Tokenizer, build_backbone
from bench.interface import System
from bench.registry import SYSTEMS
from bench.spec import BackboneKind, BackboneSpec


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

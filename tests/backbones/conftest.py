from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from moved_weights import move_weights

from bench.backbones import Backbone, Tokenizer, build_backbone
from bench.specs import BackboneSpec


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


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Puts the files of a folder where the hub's client keeps what it has downloaded; returns their name."""

    def put(folder: Path) -> str:
        cache = tmp_path_factory.mktemp("hub")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        revision = "0123456789abcdef0123456789abcdef01234567"
        repository = cache / "models--somebody--something"
        shutil.copytree(folder, repository / "snapshots" / revision)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
        return "somebody/something"

    return put

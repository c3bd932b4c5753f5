"""Checks of a backbone before it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.backbones import build_backbone, check_backbone
from bench.errors import BenchError
from bench.specs import BackboneKind, BackboneSpec
from bench.tokenizers import Tokenizer
from tests import pretrained_models


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_width_from_scratch(tokenizer: Tokenizer, kind: BackboneKind) -> None:
    spec = BackboneSpec(kind=kind, layers=1, width=12, heads=2)
    assert check_backbone(spec).width == build_backbone(spec, tokenizer).width == 12


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_width_of_a_folder(tmp_path: Path, kind: BackboneKind) -> None:
    folder = pretrained_models.save(kind, tmp_path / "model")
    assert check_backbone(BackboneSpec(kind=kind, source="folder", path=folder, width=64)).width == 16


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(BenchError, match=r"backbone\.width is 13, no multiple of backbone\.heads, 2"):
        check_backbone(BackboneSpec(width=13, heads=2))

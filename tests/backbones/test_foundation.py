"""What systems without a Transformer stand on: no weights, and the width of the stack that others stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.backbones import build_backbone, backbone_width
from bench.errors import BenchError
from bench.specs import BackboneKind, BackboneSpec
from tests import pretrained_models
from bench.tokenizers import Tokenizer


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_it_is_as_wide_as_the_backbone_and_weighs_nothing(tokenizer: Tokenizer, kind: BackboneKind) -> None:
    spec = BackboneSpec(kind=kind, layers=1, width=12, heads=2)
    foundation = backbone_width(spec, tokenizer)
    assert foundation.width == build_backbone(spec, tokenizer).width == 12
    assert foundation.vocabulary_size == len(tokenizer)
    assert foundation.tokenizer is tokenizer
    assert list(foundation.state_dict()) == []


@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_a_pretrained_backbone_says_how_wide_it_is(tokenizer: Tokenizer, tmp_path: Path, kind: BackboneKind) -> None:
    folder = pretrained_models.save(kind, tmp_path / "model")
    spec = BackboneSpec(kind=kind, source="folder", path=folder, width=64)
    assert backbone_width(spec, tokenizer).width == 16


def test_a_backbone_that_cannot_be_is_refused_all_the_same(tokenizer: Tokenizer) -> None:
    with pytest.raises(BenchError, match=r"backbone\.width is 13, no multiple of backbone\.heads, 2"):
        backbone_width(BackboneSpec(width=13, heads=2), tokenizer)

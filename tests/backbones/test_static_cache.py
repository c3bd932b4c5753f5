"""Decoding with a cache of fixed size, as CUDA graphs need it, gives the same texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GenerationConfig

from bench.backbones import Backbone, Injection, backbone
from bench.batch import Batch
from bench.specs import DecodingSpec

DECODINGS = [
    DecodingSpec(strategy="greedy", max_tokens=8),
    DecodingSpec(max_tokens=8),
    DecodingSpec(strategy="beam", beams=3, max_tokens=8),
]
GATED = (0, 2)
FUSION = ("gate", "values", "value_bias")
PARTS = {
    "nothing": (),
    **{part: (part,) for part in ("embedding", "memory", "logits", "gate", "shift")},
    "values": FUSION,
    "maps": FUSION,
}


def injection_of(decoder: Backbone, n: int, parts: str) -> Injection:
    """Random injections for n samples; ``maps`` has two value maps per gated layer."""
    stream = torch.Generator().manual_seed(1)
    width, rank = decoder.width, 2 if parts == "maps" else 1
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (n, width),
        "memory": (n, decoder.n_layers, 2, width),
        "logits": (n, decoder.vocabulary_size),
        "gate": (n, len(GATED), rank * width),
        "shift": (n, len(GATED), width),
        "values": (len(GATED), rank * width, width),
        "value_bias": (len(GATED), rank * width),
    }
    drawn = {name: torch.randn(shapes[name], generator=stream, dtype=torch.float64) for name in PARTS[parts]}
    return Injection(**drawn, layers=GATED)


@pytest.mark.parametrize("decoding", DECODINGS, ids=lambda decoding: decoding.strategy)
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(
    ("kind", "conditional"),
    [("decoder-only", False), ("decoder-only", True), ("encoder-decoder", True)],
    ids=["GPT-2", "GPT-2 behind sources", "BART"],
)
def test_texts_equal_those_of_a_growing_cache(
    make_backbone: Callable[..., Backbone],
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    conditional: bool,
    parts: str,
    decoding: DecodingSpec,
) -> None:
    decoder = make_backbone(kind=kind, layers=3)
    decoder.set_gated_layers(GATED)
    injection, n = injection_of(decoder, len(batch), parts), 1 if conditional else len(batch)
    decode: Callable[[], Any] = partial(decoder.generate, n, injection, decoding, 3, batch if conditional else None)
    growing = decode()
    static = partial(GenerationConfig, cache_implementation="static", disable_compile=True)
    monkeypatch.setattr(backbone, "GenerationConfig", static)
    sizes_stay: list[bool] = []

    def look(module: nn.Module, inputs: object, keywords: dict[str, Any]) -> None:
        sizes_stay.append(keywords["past_key_values"].is_compileable)

    decoder.model.register_forward_pre_hook(look, with_kwargs=True)
    assert decode() == growing
    assert sizes_stay
    assert all(sizes_stay)
    assert any(growing)

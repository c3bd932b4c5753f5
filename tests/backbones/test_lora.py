"""LoRA: adapters beside frozen projections, also where a value map is merged into the projection."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.backbones import Backbone, Injection, build_backbone
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import BackboneKind, BackboneSpec, DecodingSpec
from bench.tokenizers import load_tokenizer
from tests.pretrained_models import BYTES, LLAMAS, SPECIAL, save

RANK = 3
FAMILIES: dict[str, BackboneKind] = {
    "gpt2": "decoder-only",
    "bart": "encoder-decoder",
    **dict.fromkeys(LLAMAS, "decoder-only"),
}
each_family = pytest.mark.parametrize("family", FAMILIES)


def build(folder: Path, kind: BackboneKind, lora_rank: int | None) -> Backbone:
    spec = BackboneSpec(kind=kind, source="folder", path=folder, dropout=0.0, lora_rank=lora_rank)
    return build_backbone(spec, load_tokenizer(folder)).eval().double()


def pair(family: str, folder: Path) -> tuple[Backbone, Backbone]:
    """Returns a stack with adapters that are not zero, and one whose weights are W + 2 B A."""
    save(FAMILIES[family], folder, family, vocab_size=BYTES + SPECIAL)
    adapted, plain = (build(folder, FAMILIES[family], rank) for rank in (RANK, None))
    stream = torch.Generator().manual_seed(2)
    modules = dict(plain.named_modules())
    with torch.no_grad():
        for name, module in adapted.named_modules():
            if hasattr(module, "lora_B"):
                b, a = module.lora_B["default"].weight, module.lora_A["default"].weight
                b.copy_(torch.randn(b.shape, generator=stream))
                weight = modules[name].weight
                weight += 2 * (b @ a if isinstance(modules[name], nn.Linear) else (b @ a).T)
    return adapted, plain


def drawn(stream: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=stream, dtype=torch.float64)


@pytest.mark.parametrize("rank", [0, 1, 2], ids=["no value map", "merged", "several maps"])
@each_family
def test_it_is_the_stack_with_the_products_added(family: str, rank: int, tmp_path: Path) -> None:
    adapted, plain = pair(family, tmp_path)
    encode, pad, width = adapted.tokenizer.encode, adapted.tokenizer.pad, adapted.value_width
    batch = Batch.collate(encode(["it runs", "on"]), pad, Batch.collate(encode(["who ?", "where"]), pad))
    stream = torch.Generator().manual_seed(3)
    injection = Injection(
        gate=drawn(stream, 4, 1, max(rank, 1) * width),
        values=drawn(stream, 1, rank * width, width) if rank else None,
        value_bias=drawn(stream, 1, rank * width) if rank else None,
        layers=(1,),
    )
    with torch.no_grad():
        found, expected = (stack.log_likelihood(batch, injection, 2) for stack in (adapted, plain))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(adapted.encode(batch).last, plain.encode(batch).last, rtol=1e-9, atol=1e-9)
    greedy = DecodingSpec(strategy="greedy", max_tokens=9)
    texts = [stack.generate(2, injection, greedy, 0, batch.condition) for stack in (adapted, plain)]
    assert texts[0] == texts[1]


@each_family
def test_adapters_change_nothing_at_first_and_alone_are_trained(family: str, tmp_path: Path) -> None:
    kind = FAMILIES[family]
    folder = save(kind, tmp_path, family, vocab_size=BYTES + SPECIAL)
    adapted, plain = build(folder, kind, RANK), build(folder, kind, None)
    encode, pad = adapted.tokenizer.encode, adapted.tokenizer.pad
    batch = Batch.collate(encode(["it runs", "on"]), pad, Batch.collate(encode(["who ?", "where"]), pad))
    assert torch.equal(adapted.log_likelihood(batch, Injection()), plain.log_likelihood(batch, Injection()))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in adapted.named_parameters() if "lora_" in name}
    attentions = 6 if kind == "encoder-decoder" else 2  # of two layers: one each, or in BART one and two
    assert len(trained) == attentions * (2 if family == "gpt2" else 4) * 2


def test_error_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save("decoder-only", tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        BenchError, match=r"^backbone\.lora_rank needs the package peft: pip install 'della-bench\[lora\]'\.$"
    ):
        build(folder, "decoder-only", RANK)

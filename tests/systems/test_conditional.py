"""Every system given sources, on both backbones: a text alone is the text in any batch, scored and decoded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.backbones import Tokenizer
from bench.harness.data import TokenizedTexts, tokenize
from bench.harness.generate import decode_rows
from bench.interface import LatentPath, System
from bench.registry import SYSTEMS
from bench.spec import DecodingSpec
from bench.tasks import Example

KINDS = ("decoder-only", "encoder-decoder")
PAIRS = (
    Example("how can one learn languages well ?", "what is the best way to learn a language ?"),
    Example("rice ?", "how do i cook rice"),
    Example("do cats land on their feet ?", "why"),
)
DECODINGS = {
    "sampling": DecodingSpec(max_tokens=6),
    "top-k": DecodingSpec(max_tokens=6, top_k=5, temperature=0.7),
    "top-p": DecodingSpec(max_tokens=6, top_p=0.8),
    "greedy": DecodingSpec(max_tokens=6, strategy="greedy"),
    "beam": DecodingSpec(max_tokens=6, strategy="beam", beams=3),
    "penalty": DecodingSpec(max_tokens=6, min_tokens=4, repetition_penalty=1.2),
}
# In float64 two orders of summation agree to rounding; the amplified weights of these models cost some digits.
TOLERANCE = 1e-8


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def texts(tokenizer: Tokenizer) -> TokenizedTexts:
    return tokenize(PAIRS, tokenizer, max_tokens=40, max_source_tokens=24)


@pytest.fixture(params=[(kind, name) for kind in KINDS for name in SYSTEMS.names()], ids=lambda pair: " ".join(pair))
def system(request: pytest.FixtureRequest, make_system: Callable[..., System]) -> System:
    kind, name = request.param
    return make_system(name, depth=2, kind=kind, conditional=True).double()


def streams(rows: range) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in rows]


def test_a_pair_alone_scores_as_in_any_batch(system: System, texts: TokenizedTexts) -> None:
    pad = system.backbone.tokenizer.pad
    rows = range(len(PAIRS))

    def terms(rows: range) -> tuple[LatentPath, torch.Tensor]:
        batch = texts.batch(rows, pad)
        path = system.encode(batch).sample(3, streams(rows))
        return path, system.log_likelihood(batch, path)

    path, together = terms(rows)
    for row in rows:
        alone, log_likelihood = terms(range(row, row + 1))
        torch.testing.assert_close(log_likelihood[0], together[row], rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(alone.kl[0], path.kl[row], rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(alone.log_p[0], path.log_p[row], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=list(DECODINGS))
def test_decoding_in_a_batch_is_decoding_one_by_one(
    system: System, texts: TokenizedTexts, decoding: DecodingSpec
) -> None:
    """Prompts have different lengths: what stands left of a shorter one must not be seen."""
    pad = system.backbone.tokenizer.pad
    rows = range(len(PAIRS))
    together = decode_rows(system, rows, 2, texts.conditions(rows, pad), decoding, seed=5)
    one_by_one = [
        ids for row in rows for ids in decode_rows(system, [row], 2, texts.conditions([row], pad), decoding, seed=5)
    ]
    assert together == one_by_one
    assert len(together) == 2 * len(PAIRS)


def test_the_source_matters(system: System, texts: TokenizedTexts) -> None:
    """Another source gives another likelihood, and another prior where there is one."""
    pad = system.backbone.tokenizer.pad
    batch = texts.batch([0, 1], pad)
    swapped = TokenizedTexts(
        texts.ids, texts.words, texts.bytes, texts.cut, (texts.sources[1], texts.sources[0], texts.sources[2])
    ).batch([0, 1], pad)
    path = system.encode(batch).sample(1, streams(range(2)))
    other = system.encode(swapped).sample(1, streams(range(2)))
    assert (system.log_likelihood(batch, path) - system.log_likelihood(swapped, path)).abs().min() > 1e-6
    if system.groups:
        assert (path.log_p - other.log_p).abs().min() > 1e-6


def test_the_next_token_is_one_of_the_vocabulary(system: System, texts: TokenizedTexts) -> None:
    """With z held, the probabilities of all continuations by one token sum to one: none looks ahead."""
    pad, size = system.backbone.tokenizer.pad, system.backbone.vocabulary_size
    prefix = texts.ids[0][:4]
    path = system.encode(texts.batch([0], pad)).sample(1, streams(range(1)))

    def log_likelihood(ids: list[list[int]]) -> torch.Tensor:
        rows = len(ids)
        nothing = np.zeros(rows)
        batch = TokenizedTexts(tuple(ids), nothing, nothing, 0, texts.sources[:1] * rows).batch(range(rows), pad)
        z = tuple(group.expand(rows, -1, -1) for group in path.z)
        return system.log_likelihood(batch, LatentPath(z, z, *(path.log_q.expand(rows, -1, -1),) * 3))

    whole = log_likelihood([[*prefix, token] for token in range(size)])
    torch.testing.assert_close(whole.logsumexp(0), log_likelihood([prefix])[0], rtol=TOLERANCE, atol=TOLERANCE)


def test_gradients_reach_every_parameter(system: System, texts: TokenizedTexts) -> None:
    batch = texts.batch(range(len(PAIRS)), system.backbone.tokenizer.pad)
    path = system.encode(batch).sample(1, streams(range(len(PAIRS))))
    (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
    assert [name for name, parameter in system.named_parameters() if parameter.grad is None] == []

"""The cost of fusion: none per token, except for the low-rank product; in training and with a cache.

Floating-point operations are counted, not timed, for the same texts with more and more tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.backbones import Injection
from bench.batch import Batch
from bench.interface import System
from bench.specs import DecodingSpec
from della.model import Della

WIDTH, DEPTH, TEXTS = 16, 3, 2
RANK = 3


def products(run: Callable[[], object]) -> int:
    # Only this kernel is counted for all sizes of keys and values.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def decoding(system: Della, injection: Injection, length: int) -> int:
    batch = Batch.collate([[1] * (length + 1)] * TEXTS, pad=0)
    return products(lambda: system.backbone.decode(batch, injection, 1))


def generating(system: Della, injection: Injection, length: int) -> int:
    spec = DecodingSpec(strategy="greedy", max_tokens=length, min_tokens=length)
    return products(lambda: system.backbone.generate(TEXTS, injection, spec, 0))


@pytest.mark.parametrize("count", [decoding, generating])
@pytest.mark.parametrize("name", ["della", "della-2022", "della-lw", "della:add"])
def test_no_product_per_token(
    make_system: Callable[..., System], count: Callable[[Della, Injection, int], int], name: str
) -> None:
    name, _, fusion = name.partition(":")
    system = make_system(name, **({"fusion": fusion} if fusion else {}))
    assert isinstance(system, Della)
    injection = system.inject(system.sample_prior(TEXTS, None, torch.Generator().manual_seed(0)))
    plain = count(system, Injection(), 24) - count(system, Injection(), 12)
    assert count(system, injection, 24) - count(system, injection, 12) == plain > 0


def test_the_low_rank_product_costs_its_maps_and_their_attention(make_system: Callable[..., System]) -> None:
    """Without a cache: RANK maps of every value vector, and attention to RANK values; a multiply-add counts twice."""
    system = make_system("della", fusion="low_rank", rank=RANK)
    assert isinstance(system, Della)
    injection = system.inject(system.sample_prior(TEXTS, None, torch.Generator().manual_seed(0)))
    for length in (12, 24):
        maps = 2 * RANK * WIDTH**2 * length
        attention = 2 * (RANK - 1) * WIDTH * length**2
        extra = decoding(system, injection, length) - decoding(system, Injection(), length)
        assert extra == TEXTS * DEPTH * (maps + attention)


def test_with_a_cache_the_low_rank_product_maps_each_token_once(make_system: Callable[..., System]) -> None:
    """Each step has the same maps; only attention, to full-width vectors in each head, grows with the text."""
    system = make_system("della", fusion="low_rank", rank=RANK)
    assert isinstance(system, Della)
    injection = system.inject(system.sample_prior(TEXTS, None, torch.Generator().manual_seed(0)))
    heads = 2
    extra = [generating(system, injection, n) - generating(system, Injection(), n) for n in (10, 11, 12)]
    growth = [later - earlier for earlier, later in pairwise(extra)]
    step = 2 * (heads - 1) * WIDTH  # one more key (BOS is the first) and its full-width value vector
    assert growth[1] - growth[0] == TEXTS * DEPTH * step
    assert growth[0] == TEXTS * DEPTH * (2 * RANK * WIDTH**2 + step * 11)

"""Named seeds: the same on every machine, one stream each, neighbours unrelated."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import seeds
from bench.seeds import SEED_NAMES, derive_seed, named_seeds

GOLDEN = {
    "init": 1519069808562059438,
    "data": 736872305540241488,
    "dropout": 7938499265082287326,
    "latent": 2015146304195746824,
    "sampling": 1196928559710480898,
    "bootstrap": 1944100068587885975,
}


def test_golden_values_hold_on_every_machine() -> None:
    assert named_seeds(0) == GOLDEN
    assert derive_seed(3, "score", 17) == 2664867503369268898


@given(st.integers(0, 2**31), st.lists(st.integers(0, 10**6) | st.sampled_from(SEED_NAMES), max_size=3))
def test_seed_is_the_top_63_bits_of_the_hash_of_its_path(base: int, path: list[int | str]) -> None:
    text = "/".join(map(str, [base, *path]))
    expected = int(hashlib.sha256(text.encode()).hexdigest(), 16) >> (256 - 63)
    assert derive_seed(base, *path) == expected
    assert torch.Generator().manual_seed(expected).initial_seed() == expected


def test_another_stream_moves_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    before = named_seeds(7)
    monkeypatch.setattr(seeds, "SEED_NAMES", ("new", *reversed(SEED_NAMES)))
    after = named_seeds(7)
    assert after.pop("new") not in before.values()
    assert after == before


def test_streams_of_one_base_are_uncorrelated() -> None:
    draws = [np.random.default_rng(seed).standard_normal(10_000) for seed in named_seeds(0).values()]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    # A correlation of independent streams has a standard error of 0.01.
    assert np.abs(correlation).max() < 0.05


def test_neighbours_share_no_more_bits_than_strangers() -> None:
    """Of 63 bits half differ between independent seeds; over 2,000 pairs the mean's standard error is 0.09 bits."""
    for path in ((), ("latent",)):
        values = [derive_seed(base, *path) for base in range(4000)]
        assert len(set(values)) == len(values)
        distance = np.mean([(a ^ b).bit_count() for a, b in zip(values[::2], values[1::2], strict=True)])
        assert distance == pytest.approx(31.5, abs=0.45)


def test_elements_of_a_path_do_not_run_together() -> None:
    assert len({derive_seed(1, 23), derive_seed(12, 3), derive_seed(123), derive_seed(1, 2, 3)}) == 4

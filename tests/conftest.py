"""Shared pieces: a small tokenizer, micro backbones, and manners for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the tests out of the user's cache."""
    os.environ["DELLA_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Micro models are slowed down, not sped up, by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real texts; tests that need it are skipped without it."""
    named = os.environ.get("DELLA_BENCH_DATA")
    if not named:
        pytest.skip("DELLA_BENCH_DATA does not name a folder of real texts")
    return Path(named)

"""Shared pieces: a small tokenizer, micro backbones, and manners for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the tests out of the user's cache."""
    os.environ["DELLA_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real texts; tests that need it are skipped without it."""
    named = os.environ.get("DELLA_BENCH_DATA")
    if not named:
        pytest.skip("DELLA_BENCH_DATA does not name a folder of real texts")
    return Path(named)

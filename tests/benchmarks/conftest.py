"""Benchmarks run only when asked for: ``pytest tests/benchmarks --benchmark-only``."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(config.getoption(name, default=False) for name in ("benchmark_only", "benchmark_enable"))
    return None if asked else True

"""Circumstances of a run on the systems that count in different units."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from bench.harness.provenance import peak_memory


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_bytes(platform: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    assert peak_memory(torch.device("cpu")) == usage.ru_maxrss * unit

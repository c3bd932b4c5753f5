"""The device of a run: the GPU or the CPU, and never one without float64."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.harness import device
from bench.harness.device import choose_device
from bench.harness.run import run
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with Apple's GPU, as torch would tell."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device._tell_why_not_mps.cache_clear()


@pytest.mark.usefixtures("apple")
def test_apples_gpu_is_passed_over_and_a_line_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [choose_device().type for _ in range(2)] == ["cpu", "cpu"]
    assert [record.message for record in caplog.records] == [
        "runs on the CPU: Apple's GPU (mps) has no float64, in which terms are summed"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mps", r"^device 'mps': Apple's GPU has no float64, in which terms are summed; use cpu\.$"),
        ("cudda", r"^unknown device 'cudda'\. Did you mean 'cuda'\? Allowed: cpu, cuda\.$"),
    ],
)
def test_other_devices_are_refused_before_anything_runs(
    micro: MakeSpec, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        run(micro("lm"), tmp_path, device=name)
    assert not list(tmp_path.iterdir())


def test_the_gpu_is_the_default_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)

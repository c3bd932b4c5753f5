"""Metrics of other packages: an error in one costs its own score, no other score and no record."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.harness.apply_metrics import apply_metrics
from bench.harness.prepare import prepare
from bench.harness.rescore import rescore
from bench.harness.run import run
from bench.metric import Score, Signature
from bench.metrics.surface import Length
from bench.metrics.text import TextSet
from bench.records.store import load_runs
from bench.registry import Registry
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]


class Raising(Length):
    """A metric with a bug."""

    name = "Raising"

    def score(self, inputs: TextSet, bootstrap: object = None) -> Score:
        raise ZeroDivisionError("division\n  by zero")


class RaisingSupports(Length):
    """A metric with a bug elsewhere."""

    name = "Raising in supports"

    def supports(self, inputs: TextSet) -> str | None:
        raise KeyError("source")


class RaisingSignature(Length):
    """A metric without a signature."""

    name = "Raising in signature"

    def signature(self, inputs: TextSet) -> Signature:
        raise NotImplementedError


BROKEN = {
    "Raising": ("Raising", "ZeroDivisionError: division by zero"),
    "Raising in supports": ("RaisingSupports", "KeyError: 'source'"),
    "Raising in signature": ("RaisingSignature", "NotImplementedError"),
    "Missing": ("NoSuchMetric", f"text metric 'Missing' cannot be loaded from '{__name__}:NoSuchMetric': "),
}


@pytest.fixture
def broken_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = Registry.entries

    def with_broken(self: Registry[object]) -> dict[str, EntryPoint]:
        broken = {name: EntryPoint(name, f"{__name__}:{value}", self.group) for name, (value, _) in BROKEN.items()}
        return {**entries(self), **(broken if self.kind == "text metric" else {})}

    monkeypatch.setattr(Registry, "entries", with_broken)


def test_a_broken_metric_is_skipped_with_its_reason(broken_metrics: None, micro: MakeSpec) -> None:
    measurement = apply_metrics(None, TextSet(("a b", "c d")), prepare(micro("lm")).data, None)
    reasons = {skipped.metric: skipped.reason for skipped in measurement.skipped}
    for name, (_, reason) in BROKEN.items():
        assert reasons[name].startswith(reason)
    assert {"Length", "Dist-1"} <= {score.name for score in measurement.scores}
    assert not BROKEN.keys() & {score.name for score in measurement.scores}


def test_a_broken_metric_costs_no_record(broken_metrics: None, micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("lm", training={"epochs": 1}, scoring={"n_generations": 4}), tmp_path)
    assert record.status == "finished"
    assert BROKEN.keys() <= {skipped.metric for skipped in record.skipped}
    assert {"PPL", "Length"} <= {score.name for score in record.metrics}


@pytest.mark.parametrize("rescored", [False, True])
def test_a_scale_may_name_the_encoder_of_mauve(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rescored: bool
) -> None:
    monkeypatch.setattr("bench.metrics.divergence.MIN_TEXTS", 2)
    monkeypatch.setattr("bench.metrics.divergence.missing_packages", lambda *names: [])
    spec = micro("lm", training={"epochs": 1}, scoring={"n_generations": 4, "mauve_encoder": str(tmp_path / "gpt2")})
    record = run(spec, tmp_path)
    if rescored:
        (record,) = rescore(load_runs([tmp_path]))
    (reason,) = (skipped.reason for skipped in record.skipped if skipped.metric == "MAUVE")
    assert reason.startswith(f"encoder {str(tmp_path / 'gpt2')!r} is neither a folder nor available from the hub")
    assert spec.identify({}, {"test": ""}) != micro(
        "lm", training={"epochs": 1}, scoring={"n_generations": 4}
    ).identify({}, {"test": ""})

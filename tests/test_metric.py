"""Metrics, scores and signatures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bootstrap import Array, Bootstrap, Interval
from bench.errors import BenchError
from bench.metric import PerTextMetric, Score, Signature

values = st.text(st.characters(blacklist_characters="|", blacklist_categories=["Cs"]))
keys = st.text(st.characters(blacklist_characters="|:", blacklist_categories=["Cs"]))
signatures = st.builds(
    Signature, keys.filter(bool), st.lists(st.tuples(keys, values), max_size=5).map(tuple), st.integers(0, 10**6)
)


class Mean(PerTextMetric[Array]):
    """The mean of one column."""

    name = "mean"
    version = 1
    unit = "nats"
    direction = "down"

    def supports(self, inputs: Array) -> str | None:
        return None if len(inputs) else "no texts"

    def fields(self, inputs: Array) -> dict[str, object]:
        return {"n": len(inputs)}

    def statistics(self, inputs: Array) -> Array:
        return inputs[:, None]


@given(signature=signatures)
def test_signature_reads_back(signature: Signature) -> None:
    assert Signature.parse(str(signature)) == signature


def test_signature_forms() -> None:
    fields = {"est": "iw", "K": 500, "smooth": None, "lower": True, "stem": False, "delta": 0.01}
    signature = Signature.of("PPL", 2, fields)
    assert str(signature) == "PPL|est:iw|K:500|lower:yes|stem:no|delta:0.01|v:2"


@pytest.mark.parametrize("text", ["", "PPL", "PPL|", "PPL|v", "PPL|v:", "PPL|v:x", "PPL|v:-1", "PPL|K:5", "PPL|K|v:1"])
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="not a metric signature"):
        Signature.parse(text)


def test_version_in_superscript_is_refused() -> None:
    with pytest.raises(BenchError, match="not a metric signature"):
        Signature.parse("PPL|v:²")


def test_score_survives_json() -> None:
    bare = Score("PPL", 12.5, "1", "down", 3, "PPL|v:1", 0.02)
    whole = Score("AU", 3.0, "count", None, 3, "AU|v:1", 0.1, Interval(1.0, 4.0, 0.9, "bootstrap:10:1"), 0.5)
    for score in (bare, whole):
        content = json.loads(json.dumps(score.as_dict()))
        interval = content.pop("interval")
        assert Score(**content, interval=interval and Interval(**interval)) == score


def test_score_without_a_spread_to_speak_of_has_no_interval() -> None:
    assert Mean().score(np.array([1.0, 3.0])).interval is None
    alone = Mean().score(np.array([2.0]), Bootstrap(10))
    assert (alone.value, alone.n, alone.interval, alone.signature) == (2.0, 1, None, "mean|n:1|v:1")


def test_inputs_a_metric_does_not_take_are_refused_with_the_reason() -> None:
    Mean().require(np.ones(1))
    with pytest.raises(BenchError, match=r"^mean: no texts$"):
        Mean().require(np.ones(0))

"""Every registered system passes the conformance suite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from bench.batch import Batch
from bench.harness.scoring import score_texts
from bench.harness.tokenized_texts import tokenize
from bench.interface import System
from bench.metrics.latent import MutualInformation
from bench.metrics.likelihood import KL, Reconstruction
from bench.specs import ScoringSpec
from bench.systems import SYSTEMS
from bench.tasks import Example
from bench.testing import conformance_cases
from bench.testing.check import Check
from bench.testing.system_under_test import SystemUnderTest
from bench.tokenizers import EncoderTokens, Tokenizer


def small(name: str) -> dict[str, Any]:
    """Latent variables of four dimensions, if there are any."""
    return {"latent_size": 4} if "latent_size" in SYSTEMS.get(name).Config.model_fields else {}


@pytest.mark.parametrize(
    ("check", "tested"), [case for name in SYSTEMS.names() for case in conformance_cases(name, **small(name))]
)
def test_conformance(check: Check, tested: SystemUnderTest) -> None:
    check.run(tested)


@pytest.mark.parametrize("name", SYSTEMS.names())
def test_scored_terms_are_those_of_the_system(
    make_system: Callable[..., System],
    batch: Batch,
    tokenizer: Tokenizer,
    encoder_tokenizer: Tokenizer,
    name: str,
) -> None:
    """Scores are averages of the unreduced terms; the ratio to the aggregated posterior is bounded by ln n."""
    examples = [Example(text) for text in tokenizer.decode(batch.ids.tolist())]
    texts = tokenize(examples, tokenizer.with_encoder(EncoderTokens(encoder_tokenizer, 100)), 100)
    system = make_system(name, **small(name))
    scoring = ScoringSpec(n_importance_samples=6, batch_tokens=4000)
    found = score_texts(system, texts, scoring, "fp32", latent_seed=3)
    assert found.groups == system.groups
    assert KL().statistics(found).mean() == pytest.approx(found.kl.sum() / len(texts))
    assert Reconstruction().score(found).value == pytest.approx(-found.log_likelihood.mean(), rel=1e-12)
    ratio = MutualInformation().statistics(found)
    assert ratio.max() <= math.log(len(texts)) + 1e-9

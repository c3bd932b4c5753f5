"""The suite passes a sound system, and each mistake fails the check that is about it, with a message that helps."""

from __future__ import annotations

import re

import pytest
import torch

from baselines.language_model import LanguageModel
from baselines.transformer_vae import EmbedVAE
from bench.errors import BenchError
from bench.testing import SystemConformance, check_system, conformance_cases, find_system, run_case
from bench.testing.checks import CHECKS
from bench.testing.expect import ConformanceError
from bench.testing.suite import CheckResult
from tests.testing import broken_systems as broken


class TestSound(SystemConformance):
    """As an author has it."""

    system = broken.Sound
    options = {"latent_size": 4}  # noqa: RUF012


MISTAKES = {
    broken.FutureLeak: (
        {"no-peeking", "greedy-is-likeliest", "sampling-is-fair"},
        "no token may depend on later tokens",
    ),
    broken.UnmaskedPadding: (
        {"alone-as-in-a-batch", "padding-is-not-read", "scored-in-any-portion"},
        "padding must be masked",
    ),
    broken.AveragedKL: (
        {"analytic-kl", "kl-of-dimensions", "rising-bound"},
        "summed over the dimensions of the group, never averaged",
    ),
    broken.WrongSign: (
        {"first-token", "no-peeking", "every-token-counts", "greedy-is-likeliest", "sampling-is-fair"},
        "not the loss, their negative",
    ),
    broken.IgnoredSeed: (
        {"seeded-texts", "decoded-alone-as-in-a-batch"},
        "Expected different texts for a different seed",
    ),
    broken.DroppedEmpty: ({"one-text-per-sample"}, "Expected 2000 texts for 1 x 2000 samples; saw 19"),
}


@pytest.mark.parametrize("cls", MISTAKES, ids=lambda cls: cls.__name__)
def test_a_mistake_fails_the_checks_that_are_about_it(cls: type[broken.Sound]) -> None:
    outcomes = list(check_system(cls, {}, settings=["unconditional"]))
    failed = {outcome.check.name: outcome.message for outcome in outcomes if outcome.check and outcome.status != "ok"}
    expected, phrase = MISTAKES[cls]
    assert set(failed) == expected
    assert len(outcomes) == sum(not check.conditional for check in CHECKS)
    first = next(iter(failed.values())) if cls is not broken.IgnoredSeed else failed["seeded-texts"]
    assert phrase in first
    assert re.match(r"Expected .*; saw .*\. .*\.$", first)


SILENT_MISTAKES = {
    broken.PositionZero: {"greedy-is-likeliest", "sampling-is-fair"},
    broken.NewestTokenOnly: {"greedy-is-likeliest", "sampling-is-fair"},
    broken.LostCache: {"greedy-is-likeliest"},
    broken.StateBefore: {"newest-token-is-read", "greedy-is-likeliest", "sampling-is-fair"},
    broken.OffByOne: {"newest-token-is-read"},
    broken.NoTopP: {"sampling-is-fair"},
    broken.NoPenalty: {"decoding-options"},
    broken.NoMinimum: {"decoding-options"},
    broken.NoLongEnds: {"no-peeking", "every-token-counts", "newest-token-is-read", "greedy-is-likeliest"},
    broken.FirstThirty: {"no-peeking", "every-token-counts", "newest-token-is-read"},
    broken.KLAveragedInTraining: {"same-in-training"},
    broken.EndsTwiceInTraining: {"same-in-training"},
    broken.OtherWithGradients: {"derivatives", "same-in-training"},
    broken.Stateful: {"activation-checkpointing"},
    broken.DetachedFromLikelihood: {"latents-learn", "derivatives"},
    broken.DetachedSample: {"latents-learn", "derivatives"},
    broken.DetachedMean: {"derivatives"},
    broken.FrozenLatents: {"latents-learn"},
    broken.WidePrior: {"given-values", "prior-moments"},
    broken.WiderPrior: {"given-values", "prior-moments"},
    broken.NarrowPrior: {"given-values", "prior-moments"},
    broken.WideSamples: {"prior-moments"},
    broken.OwnDecoding: set(),
    broken.Adapter: set(),
}


@pytest.mark.parametrize("cls", SILENT_MISTAKES, ids=lambda cls: cls.__name__)
def test_a_silent_mistake_fails_the_checks_that_are_about_it(cls: type[broken.Sound]) -> None:
    results = list(check_system(cls, {"latent_size": 4}, settings=["unconditional"]))
    assert {result.check.name for result in results if result.status == "FAILED"} == SILENT_MISTAKES[cls]
    assert {result.check.name for result in results if result.status == "skipped"} <= {"one-probability"}


CAN_FAIL = {
    "declarations": broken.NoVersion,
    "shapes": broken.SummedSamples,
    "analytic-kl": broken.AveragedKL,
    "kl-is-not-negative": broken.SampledKL,
    "kl-of-dimensions": broken.HalvedDimensions,
    "means-of-samples": broken.ShiftedMean,
    "own-density": broken.OtherDensity,
    "shared-samples": broken.OwnSamplesOnly,
    "given-values": broken.UnweightedValues,
    "prior-of-itself": broken.PriorWithoutDensity,
    "prior-moments": broken.WidePrior,
    "one-probability": broken.TwoPriors,
    "one-encoder-pass": broken.EncodingTwice,
    "seeded-samples": broken.GlobalNoise,
    "latents-matter": broken.UnusedLatents,
    "first-token": broken.Unnormalised,
    "no-peeking": broken.FutureLeak,
    "every-token-counts": broken.FirstThirty,
    "newest-token-is-read": broken.OffByOne,
    "source-matters": broken.BlindToSources,
    "rising-bound": broken.AveragedKL,
    "alone-as-in-a-batch": broken.UnmaskedPadding,
    "alone-in-single-precision": broken.SinglePrecision,
    "padding-is-not-read": broken.UnmaskedPadding,
    "scored-in-any-portion": broken.UnmaskedPadding,
    "decoded-alone-as-in-a-batch": broken.IgnoredSeed,
    "one-text-per-sample": broken.DroppedEmpty,
    "seeded-texts": broken.IgnoredSeed,
    "greedy-is-likeliest": broken.BlindDecoding,
    "sampling-is-fair": broken.NoTemperature,
    "decoding-options": broken.NoPenalty,
    "gradients": broken.UnusedWeights,
    "latents-learn": broken.FrozenLatents,
    "derivatives": broken.DetachedMean,
    "same-in-training": broken.KLAveragedInTraining,
    "activation-checkpointing": broken.Stateful,
    "learns": broken.Unlearning,
    "saved-weights": broken.UnsavedScale,
}
AND_MORE = [
    ("means-of-samples", broken.SampleAsMean),
    ("gradients", broken.UnusedLatents),
    ("gradients", broken.FalselyIdle),
    ("alone-as-in-a-batch", broken.GlobalNoise),
]


def test_every_check_can_fail() -> None:
    assert list(CAN_FAIL) == [check.name for check in CHECKS]


def outcome_of(cls: type[EmbedVAE], check: str) -> CheckResult:
    setting = "conditional" if cls is broken.BlindToSources else "unconditional"
    (outcome,) = check_system(cls, {"latent_size": 4}, [check], [setting])
    return outcome


@pytest.mark.parametrize(("check", "cls"), [*CAN_FAIL.items(), *AND_MORE])
def test_a_mistake_fails_its_check(check: str, cls: type[EmbedVAE]) -> None:
    outcome = outcome_of(cls, check)
    assert outcome.status == "FAILED", outcome
    assert outcome.message.startswith("Expected ")
    assert f"FAILED  {outcome.setting.name}" in str(outcome)


def test_gradients_name_the_parameters_without() -> None:
    message = outcome_of(broken.UnusedWeights, "gradients").message
    assert message.startswith("Expected a gradient for every parameter; saw none for forgotten.bias, forgotten.weight.")


def test_an_exception_is_told_with_its_place_in_the_systems_own_file() -> None:
    outcome = outcome_of(broken.Raising, "shapes")
    assert outcome.status == "FAILED"
    assert outcome.message.startswith(
        "Raised RuntimeError: shapes (3, 4) and (5, 6) do not fit (broken_systems.py, line "
    )
    assert outcome.message.endswith(", in encode).")


def test_frozen_parameters_are_named() -> None:
    assert outcome_of(broken.FrozenLatents, "gradients").message == (
        "Frozen parameters, which training leaves unchanged: posterior.bias, posterior.weight, projection.weight."
    )
    message = outcome_of(broken.FrozenLatents, "latents-learn").message
    assert "saw posterior.bias, posterior.weight, all frozen." in message


def test_a_system_that_cannot_be_built_fails_once() -> None:
    (result,) = check_system(broken.RaisingConstructor, {}, settings=["unconditional"])
    assert (result.status, result.check) == ("FAILED", None)
    assert result.message.startswith("Raised ValueError: a mistake in the constructor (broken_systems.py, line ")
    assert "every check                 Cannot be built." in str(result)


def test_a_cause_is_described_once() -> None:
    results = list(check_system(broken.SinglePrecisionInside, {}, ["shapes", "first-token", "no-peeking"]))
    ok, first, again, *_ = results
    assert [result.status for result in (ok, first, again)] == ["ok", "FAILED", "FAILED"]
    assert "This check runs in double precision" in first.message
    assert (again.message, again.repeated) == ("The same cause as in unconditional first-token.", True)


def test_rounding_to_single_precision_is_named() -> None:
    for check in ("first-token", "no-peeking"):
        assert "This check runs in double precision" in outcome_of(broken.RoundedInside, check).message


def test_what_cannot_be_told_is_skipped() -> None:
    outcome = outcome_of(broken.Erratic, "one-probability")
    assert (outcome.status, outcome.message) == (
        "skipped",
        "importance weights vary too much to compare the two estimates",
    )


def test_a_setting_that_is_not_supported_is_skipped_with_its_reason() -> None:
    outcomes = list(check_system(broken.Sound, {}, ["declarations"]))
    assert [(outcome.setting.name, outcome.status, outcome.message) for outcome in outcomes] == [
        ("unconditional", "ok", ""),
        ("conditional", "skipped", "no conditions"),
        ("encoder-decoder", "skipped", "no conditions"),
        ("llama", "ok", ""),
    ]


def test_a_test_fails_as_its_check_does() -> None:
    case, *_ = conformance_cases(broken.NoVersion)
    assert case.id == "NoVersion-unconditional-declarations"
    with pytest.raises(ConformanceError, match=r"Expected a version from 1; saw 0\. Check the class attributes"):
        run_case(*case.values)


@pytest.mark.parametrize("cls", [broken.Sound, broken.Unlearning])
def test_a_check_leaves_the_process_as_it_was(cls: type[broken.Sound]) -> None:
    torch.set_num_threads(2)
    try:
        state = torch.get_rng_state()
        assert outcome_of(cls, "learns").status == ("ok" if cls is broken.Sound else "FAILED")
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == 2
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_num_threads(1)


def test_systems_are_found_by_name_and_by_place() -> None:
    assert find_system("lm") == (LanguageModel, {})
    assert find_system("embed:latent_size=3") == (EmbedVAE, {"latent_size": 3, "representation": "first_token"})
    assert find_system("tests.testing.broken_systems:Sound")[0] is broken.Sound
    assert find_system("tests.testing.broken_systems:Sound:latent_size=5")[1]["latent_size"] == 5


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("embd", "unknown system 'embd'. Did you mean 'embed'?"),
        ("embed:latent=3", "unknown key 'latent'. Did you mean 'latent_size'?"),
        ("nowhere:Mine", "system 'nowhere:Mine' cannot be loaded from 'nowhere:Mine': No module named 'nowhere'"),
        ("tests.testing.broken_systems:Sund", "has no attribute 'Sund'"),
        ("bench.specs:RunSpec", "bench.specs:RunSpec is no system: expected a subclass of bench.interface.System."),
        ("bench.specs:digest", "bench.specs:digest is no system"),
    ],
)
def test_mistakes_in_names_are_explained(label: str, message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        find_system(label)


def test_unknown_checks_and_settings_get_the_nearest() -> None:
    with pytest.raises(BenchError, match=r"unknown check 'shape'\. Did you mean 'shapes'\?"):
        list(check_system(broken.Sound, {}, ["shape"]))
    with pytest.raises(BenchError, match=r"unknown setting 'conditonal'\. Did you mean 'conditional'\?"):
        list(check_system(broken.Sound, {}, settings=["conditonal"]))

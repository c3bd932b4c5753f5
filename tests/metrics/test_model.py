"""Which metrics a model is asked for, and why some do not apply."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.model import MODEL_METRICS, TERMS, model_metrics
from tests.metrics.scored_cases import random_scored


@pytest.mark.parametrize(("groups", "of_groups"), [((), 0), ((32,), 0), ((4, 4, 4), 3)])
def test_single_groups_are_measured_where_there_are_several(groups: tuple[int, ...], of_groups: int) -> None:
    names = [metric.name for metric in model_metrics(groups)]
    assert len(names) == len(set(names))
    assert {"PPL", "PPL floor", "ELBO", "Excess", "Rec", "KL", "MI", "AU", "ESS"} <= set(names)
    numbered = {name for name in names if name.endswith("]")}
    assert numbered == {f"{name}[{number}]" for name in ("KL", "AU", "Probe") for number in range(1, of_groups + 1)}


def test_every_known_factor_is_probed_in_every_group() -> None:
    names = [metric.name for metric in model_metrics((4, 4), ["topic", "tone"])]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith(("Probe", "Majority"))] == [
        *("Probe", "Majority", "Probe[1]", "Probe[2]"),
        *("Probe[topic]", "Probe[topic][1]", "Probe[topic][2]"),
        *("Probe[tone]", "Probe[tone][1]", "Probe[tone][2]"),
        *("Majority[topic]", "Majority[tone]"),
    ]
    alone = [metric.name for metric in model_metrics((8,), ["topic"])]
    assert [name for name in alone if name.startswith("Probe")] == ["Probe", "Probe[topic]"]


def test_what_a_plain_language_model_of_real_text_is_not_asked() -> None:
    scored = random_scored(groups=(), known=False)
    reasons = {metric.name: metric.supports(scored) for metric in model_metrics()}
    of_latents = ("KL", "MI", "AU", "AU(0.1)", "AU(0.2)", "ESS", "KL@della-2022", "AU@della-2022", "Probe")
    latent = dict.fromkeys(of_latents, "no latent variable")
    unknown = "the true distribution of real text is not known"
    assert {name: reason for name, reason in reasons.items() if reason} == {
        **latent,
        **dict.fromkeys(("PPL floor", "PPL ratio", "ELBO floor", "Excess"), unknown),
        "Majority": "the latent factors of real text are not known",
    }


@pytest.mark.parametrize("name", MODEL_METRICS.names())
def test_a_metric_is_registered_under_its_own_name(name: str) -> None:
    assert MODEL_METRICS.get(name)().name == name


def test_every_summary_is_one_full_line() -> None:
    assert all(line.endswith(".") for line in MODEL_METRICS.summaries().values())


class TestTermsThatAreNotFinite:
    """Comparisons with NaN are false: a count of active units or hits of a NaN model looks plausible."""

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("term", TERMS)
    def test_every_metric_refuses_them_by_name(self, term: str, value: float) -> None:
        scored = random_scored(n=7)
        broken = getattr(scored, term).copy()
        broken[3] = value
        scored = replace(scored, **{term: broken})
        metrics = model_metrics(scored.groups, scored.probe_hits)
        reasons = {metric.name: metric.supports(scored) for metric in metrics}
        assert reasons == dict.fromkeys(reasons, f"{term} is not finite for 1 of 7 texts")
        for metric in metrics:
            with pytest.raises(BenchError, match=f"^{re.escape(metric.name)}: {term} is not finite for 1 of 7 texts$"):
                metric.score(scored)

    def test_the_terms_are_all_that_a_model_computes(self) -> None:
        of_texts = {"tokens", "words", "bytes", "true_log_p"}
        assert {name for name, value in vars(random_scored()).items() if isinstance(value, np.ndarray)} == {
            *of_texts,
            *TERMS,
        }

    @pytest.mark.parametrize("groups", [(), (5,), (2, 3)])
    def test_finite_terms_have_no_reason(self, groups: tuple[int, ...]) -> None:
        assert random_scored(groups=groups).not_finite is None


def test_metrics_that_come_near_zero_accept_an_absolute_change() -> None:
    """Of a collapsed posterior KL and MI are hundredths of a nat: 2 % of them is less than noise."""
    scored = random_scored(groups=(2, 3))
    tolerances = {metric.name: metric.score(scored).absolute_tolerance for metric in model_metrics(scored.groups)}
    accepted = {name: tolerance for name, tolerance in tolerances.items() if tolerance}
    assert accepted == {
        **dict.fromkeys(("KL", "KL[1]", "KL[2]", "KL@della-2022"), 0.01),
        **dict.fromkeys(("MI", "Excess"), 0.02),
    }

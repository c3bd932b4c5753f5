"""Free bits against literal loops over every unit, the released losses and a hand-written gradient.

Everything runs in float64; 1e-12 leaves room for the order of a sum.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.errors import BenchError
from bench.latents import Gaussian, GaussianPosterior
from bench.objectives import Objective, StageStep, build_objective, resolve_objective
from bench.objectives.free_bits import FreeBits
from bench.objectives.reductions import MeanGroups, SumGroups
from bench.objectives.schedules import Constant
from tests.objectives.kl_paths import path_of_dimensions, path_of_groups

EXACT = {"rtol": 1e-12, "atol": 1e-12}
NOW = StageStep(0, 1, 1)
SIZES = (3, 1, 4)
FORMS: tuple[Literal["mask", "max"], ...] = ("mask", "max")
UNITS: tuple[Literal["dimension", "group", "text"], ...] = ("dimension", "group", "text")


def terms(batch: int = 4, n: int = 3, sizes: tuple[int, ...] = SIZES) -> list[Tensor]:
    """KL of every dimension (B x n x D for each group), uniform between 0 and 1 nat."""
    torch.manual_seed(0)
    return [torch.rand(batch, n, size, dtype=torch.float64, requires_grad=True) for size in sizes]


def units_of(kl: list[Tensor], per: str) -> list[list[list[list[float]]]]:
    """KL of every unit: entries of the result x units x texts x samples."""
    dimensions = [[group[..., d].tolist() for d in range(group.shape[-1])] for group in kl]
    groups = [[group.sum(-1).tolist()] for group in kl]
    text = [[torch.stack([group.sum(-1) for group in kl]).sum(0).tolist()]]
    return {"dimension": dimensions, "group": groups, "text": text}[per]


def literally(kl: list[Tensor], threshold: FreeBits) -> list[list[list[float]]]:
    """The penalised KL as loops: texts x samples x entries."""
    entries = units_of(kl, threshold.per)
    target = threshold.target / (sum(map(len, entries)) if threshold.divided else 1)
    batch, n = kl[0].shape[:2]
    result = []
    for text, sample in itertools.product(range(batch), range(n)):
        row = []
        for units in entries:
            total = 0.0
            for unit in units:
                own = unit[text][sample]
                mean = sum(itertools.chain.from_iterable(unit)) / (batch * n)
                free = (mean if threshold.batch_mean else own) <= target
                total += (target if threshold.form == "max" else 0.0) if free else own
            row.append(total)
        result.append(row)
    return [result[start : start + n] for start in range(0, batch * n, n)]


@pytest.mark.parametrize("batch_mean", [False, True])
@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("per", UNITS)
@pytest.mark.parametrize("target", [0.0, 0.5, 1.6, 4.0, 100.0])
def test_every_threshold_is_the_loop_over_its_units(
    target: float, per: Any, form: Any, divided: bool, batch_mean: bool
) -> None:
    threshold = FreeBits(target=target, per=per, form=form, divided=divided, batch_mean=batch_mean)
    kl = terms()
    penalised = threshold(path_of_dimensions(kl))
    assert penalised.shape == (4, 3, 1 if per == "text" else len(SIZES))
    torch.testing.assert_close(penalised, torch.tensor(literally(kl, threshold), dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("batch_mean", [False, True])
@pytest.mark.parametrize("per", UNITS)
@pytest.mark.parametrize("target", [0.3, 1.5, 4.0])
def test_mask_and_maximum_differ_in_value_and_not_in_gradient(target: float, per: Any, batch_mean: bool) -> None:
    """No random term lies on the kink itself."""
    values, gradients = [], []
    for form in FORMS:
        kl = terms()
        penalised = FreeBits(target=target, per=per, form=form, batch_mean=batch_mean)(path_of_dimensions(kl)).sum()
        values.append(penalised.item())
        gradients.append(torch.cat([gradient.flatten() for gradient in torch.autograd.grad(penalised, kl)]))
    assert torch.equal(*gradients)
    anything_free = bool((gradients[0] == 0).any())
    assert (values[0] < values[1]) == anything_free


def test_the_mask_is_strict_and_the_maximum_meets_it() -> None:
    """At the target itself the released codes count nothing (they ask for KL > target)."""
    path = path_of_dimensions([torch.tensor([[[0.5, 0.25, 0.75]]])])
    assert FreeBits(target=0.5)(path).item() == 0.75
    assert FreeBits(target=0.5, form="max")(path).item() == 0.5 + 0.5 + 0.75


@given(st.floats(0, 20), st.integers(0, 10_000))
def test_a_threshold_lies_between_nothing_and_the_kl_or_the_target(target: float, seed: int) -> None:
    torch.manual_seed(seed)
    path = path_of_dimensions([5 * torch.rand(3, 2, 4, dtype=torch.float64)])
    mask, maximum = (FreeBits(target=target, form=form)(path) for form in FORMS)
    assert (mask <= path.kl + 1e-12).all()
    assert (maximum >= path.kl - 1e-12).all()
    assert (maximum >= 4 * target - 1e-9).all()


def posterior() -> tuple[GaussianPosterior, list[Tensor]]:
    torch.manual_seed(1)
    parameters = [torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    return GaussianPosterior(Gaussian(*parameters)), parameters


def released_free_bits(mean: Tensor, log_variance: Tensor, rule: str, target: float) -> Tensor:
    """The losses of the released codes without their reconstruction term, of each text (B)."""
    dimensions = 0.5 * (mean.pow(2) + log_variance.exp() - log_variance - 1)
    whole = dimensions.sum(1)
    masked = {
        "li-1": whole * (whole > target),
        "li-2": (dimensions * (dimensions > target / mean.shape[1])).sum(1),
        "li-3": whole * (whole.mean() > target),
        "optimus": (dimensions * (dimensions > target)).sum(1),
        "della": torch.maximum(whole, torch.tensor(target, dtype=torch.float64)),
    }
    return masked[rule]


@pytest.mark.parametrize(
    ("rule", "label"),
    [
        ("li-1", "free-bits:{target},text"),
        ("li-2", "free-bits:{target},divided=true"),
        ("li-3", "free-bits:{target},per=text,batch_mean=true"),
        ("optimus", "free-bits:{target}"),
        ("della", "free-bits:{target},per=group,form=max"),
    ],
)
@pytest.mark.parametrize("target", [0.0, 0.4, 2.0, 3.5])
def test_published_losses_and_their_gradients(rule: str, label: str, target: float) -> None:
    objective = build_objective(resolve_objective(["constant:0.7", label.format(target=target)]).parts)
    q, parameters = posterior()
    path = q.sample(1, torch.Generator().manual_seed(0))
    loss = objective.loss(torch.zeros(5, 1, dtype=torch.float64), path, NOW)
    expected = 0.7 * released_free_bits(*parameters, rule, target)
    torch.testing.assert_close(loss, expected, **EXACT)
    for gradient, literal in zip(
        torch.autograd.grad(loss.sum(), parameters), torch.autograd.grad(expected.sum(), parameters), strict=True
    ):
        torch.testing.assert_close(gradient, literal, **EXACT)


def test_every_sample_meets_the_threshold_before_samples_are_averaged() -> None:
    """Two samples of a deep group, 0 and 4 nats under a target of 3: their mean, 2, would be free."""
    path = path_of_dimensions([torch.tensor([[[0.0], [4.0]]])])
    nothing = torch.zeros(1, 2)
    assert Objective(threshold=FreeBits(target=3.0)).loss(nothing, path, NOW).item() == 2.0
    assert Objective(threshold=FreeBits(target=3.0, form="max")).loss(nothing, path, NOW).item() == 3.5


def test_penalised_groups_are_averaged_like_others() -> None:
    """The released DELLA: max(KL_l, t) in every layer, then the average of the layers."""
    kl = terms()
    objective = Objective(Constant(weight=0.5), FreeBits(target=1.0, per="group", form="max"), MeanGroups())
    loss = objective.loss(torch.zeros(4, 3, dtype=torch.float64), path_of_dimensions(kl), NOW)
    expected = 0.5 * torch.stack([group.sum(-1).clamp(min=1.0) for group in kl]).mean(0).mean(-1)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_without_a_threshold_a_target_of_zero_changes_nothing() -> None:
    path = path_of_dimensions(terms())
    nothing = torch.zeros(4, 3, dtype=torch.float64)
    for per in UNITS:
        penalised = Objective(threshold=FreeBits(target=0.0, per=per)).loss(nothing, path, NOW)
        torch.testing.assert_close(penalised, Objective().loss(nothing, path, NOW), **EXACT)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            ["mean-groups", "free-bits:8,per=text"],
            "objective 'mean-groups+free-bits:8,per=text': free bits per text are bits of the sum over groups, not of"
            " another reduction.",
        ),
        (["free-bits", "constant:0"], "objective 'free-bits+constant:0': free bits do nothing where the KL has no"),
        (["free-bits:0.5", "free-bits:8"], "'free-bits' is given twice."),
        (["free-bits:8,per=sentence"], "'free-bits:8,per=sentence': per: Input should be 'dimension', 'group' or 'te"),
        (["free-bits:-1"], "'free-bits:-1': target: Input should be greater than or equal to 0 (got -1)."),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(parts: list[str], message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        resolve_objective(parts)


@pytest.mark.parametrize("reduction", ["sum-groups", "mean-groups", "first-group", "last-group"])
@pytest.mark.parametrize("per", ["dimension", "group"])
def test_other_thresholds_stand_beside_every_reduction(per: str, reduction: str) -> None:
    resolve_objective([f"free-bits:1,per={per}", reduction])


def test_a_threshold_per_dimension_needs_dimensions() -> None:
    path = path_of_groups(torch.ones(2, 1, 3))
    with pytest.raises(BenchError, match="need a posterior that gives the KL of every dimension"):
        FreeBits()(path)
    assert FreeBits(target=2.0, per="group")(path).tolist() == [[[0.0] * 3]] * 2


def test_the_default_is_optimus() -> None:
    assert build_objective(resolve_objective(["free-bits"]).parts) == Objective(
        threshold=FreeBits(target=0.5), reduction=SumGroups()
    )

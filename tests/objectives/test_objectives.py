"""Objectives: every schedule against its formula at every step, losses and gradients against theirs, and the parts.

Schedules are checked in exact fractions; 1e-12 allows for the few roundings of a double.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.objectives import (
    OBJECTIVES,
    Objective,
    Reduction,
    Schedule,
    StageStep,
    build_objective,
    build_stages,
    part_types,
    resolve_objective,
)
from bench.objectives.reductions import FirstGroup, LastGroup, MeanGroups, SumGroups
from bench.objectives.schedules import (
    Constant,
    Cyclical,
    Linear,
    ReleasedCyclical,
    ReleasedZeroLinear,
    TwoEpochCycle,
    ZeroLinear,
)
from bench.specs import ObjectiveSpec, PartSpec
from bench.systems import SYSTEMS
from tests.objectives.kl_paths import path_of_groups

BUDGETS = [(1, 1), (1, 7), (3, 3), (4, 8), (5, 20), (7, 21), (10, 100), (13, 52), (100, 400)]


def betas(schedule: Schedule, steps_per_epoch: int, total: int) -> list[float]:
    return [schedule.beta(StageStep(step, steps_per_epoch, total)) for step in range(total)]


def linear(step: int, steps_per_epoch: int, total: int, epochs: float, start: float, at_most: float) -> Fraction:
    ramp = min(Fraction(epochs) * steps_per_epoch, Fraction(at_most) * total)
    return Fraction(1) if step >= ramp else Fraction(start) + (1 - Fraction(start)) * step / ramp


def cyclical(step: int, total: int, cycles: int, ratio: float) -> Fraction:
    place = Fraction(step * cycles, total) % 1
    return min(Fraction(1), place / Fraction(ratio))


def zero_linear(step: int, total: int, cycles: int, zero: float, increase: float) -> Fraction:
    place = Fraction(step * cycles, total) % 1
    return min(Fraction(1), max(Fraction(0), (place - Fraction(zero)) / Fraction(increase)))


def two_epoch_cycle(step: int, steps_per_epoch: int, minimum: float) -> Fraction:
    place, low = Fraction(step, steps_per_epoch) % 2, Fraction(minimum)
    if place < 1:
        return low
    return low + (1 - low) * (place - 1) * 2 if place < Fraction(3, 2) else Fraction(1)


@pytest.mark.parametrize(("steps_per_epoch", "total"), BUDGETS)
class TestSchedulesAtEveryStep:
    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
    def test_constant(self, steps_per_epoch: int, total: int, weight: float) -> None:
        assert betas(Constant(weight=weight), steps_per_epoch, total) == [weight] * total

    @pytest.mark.parametrize(
        "options",
        [
            {"epochs": 10.0, "start": 0.1, "at_most": 0.5},
            {"epochs": 1.0, "start": 0.0, "at_most": 1.0},
            {"epochs": 0.5, "start": 1.0, "at_most": 0.25},
        ],
    )
    def test_linear(self, steps_per_epoch: int, total: int, options: dict[str, float]) -> None:
        expected = [float(linear(step, steps_per_epoch, total, **options)) for step in range(total)]
        assert betas(Linear(**options), steps_per_epoch, total) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("cycles", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
    def test_cyclical(self, steps_per_epoch: int, total: int, cycles: int, ratio: float) -> None:
        expected = [float(cyclical(step, total, cycles, ratio)) for step in range(total)]
        assert betas(Cyclical(cycles=cycles, ratio=ratio), steps_per_epoch, total) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("cycles", [1, 3, 10])
    @pytest.mark.parametrize("shares", [(0.0, 0.5), (0.5, 0.25), (0.25, 0.75)])
    def test_zero_linear(self, steps_per_epoch: int, total: int, cycles: int, shares: tuple[float, float]) -> None:
        zero, increase = shares
        expected = [float(zero_linear(step, total, cycles, zero, increase)) for step in range(total)]
        schedule = ZeroLinear(cycles=cycles, zero=zero, increase=increase)
        assert betas(schedule, steps_per_epoch, total) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("minimum", [0.0, 1e-5, 0.5, 1.0])
    def test_two_epoch_cycle(self, steps_per_epoch: int, total: int, minimum: float) -> None:
        expected = [float(two_epoch_cycle(step, steps_per_epoch, minimum)) for step in range(total)]
        assert betas(TwoEpochCycle(minimum=minimum), steps_per_epoch, total) == pytest.approx(expected, abs=1e-12)


def test_cyclical_starts_anew_where_the_period_is_no_whole_number() -> None:
    for cycles in range(6, 11):
        for total in range(cycles, 200):
            expected = [float(cyclical(step, total, cycles, 0.5)) for step in range(total)]
            assert betas(Cyclical(cycles=cycles), 1, total) == pytest.approx(expected, abs=1e-9)


def test_the_papers_cycle() -> None:
    """Two epochs of eight steps (appendix A.1): a half of 1e-5, a quarter of ramp, a quarter of 1; then again."""
    cycle = [1e-5] * 8 + [1e-5 + (1 - 1e-5) * step / 4 for step in range(4)] + [1.0] * 4
    assert betas(TwoEpochCycle(), 8, 48) == pytest.approx(cycle * 3, abs=1e-15)


@pytest.mark.parametrize("steps_per_epoch", [4, 8, 100])
def test_the_papers_cycle_at_each_quarter_and_the_released_one(steps_per_epoch: int) -> None:
    """A quarter of the two epochs is half of one. The released code adds its increment before a step, not after."""
    weights = betas(TwoEpochCycle(), steps_per_epoch, 2 * steps_per_epoch)
    half = steps_per_epoch // 2
    assert weights[: steps_per_epoch + 1] == [1e-5] * (steps_per_epoch + 1)
    assert weights[steps_per_epoch + half // 2] == pytest.approx(1e-5 + (1 - 1e-5) / 2, abs=1e-15)
    assert weights[steps_per_epoch + half :] == [1.0] * half

    released, weight = [1e-5] * steps_per_epoch, 1e-5
    for _ in range(steps_per_epoch):
        weight = min(1.0, weight + (1 - 1e-5) / (steps_per_epoch / 2))
        released.append(weight)
    assert released[steps_per_epoch:-1] == pytest.approx(weights[steps_per_epoch + 1 :], abs=1e-12)


def released_array(total: int, cycles: int, zero: float, increase: float) -> list[float]:
    """The array that the released code fills, in its order of operations.

    ``frange_cycle_linear`` of Fu et al. (2019) is the case without a zero part; with one it is Optimus's
    ``frange_cycle_zero_linear``. A weight is added up, a position of a cycle is rounded down to a step, and a later
    cycle overwrites an earlier one.
    """
    filled = dict.fromkeys(range(total), 1.0)
    period = total / cycles
    increment = 1.0 / (period * increase)
    for cycle in range(cycles):
        weight, position = 0.0, 0
        while weight <= 1.0 and int(position + cycle * period) < total:
            rising = position >= period * zero
            filled[int(position + cycle * period)] = weight if rising else 0.0
            weight += increment if rising else 0.0
            position += 1
    return [*filled.values()]


STEPS = [*range(1, 130), 249, 997, 1000, 4321]


@pytest.mark.parametrize("cycles", [1, 3, 4, 7, 10])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_released_cyclical_array(cycles: int, ratio: float) -> None:
    schedule = ReleasedCyclical(cycles=cycles, ratio=ratio)
    for total in STEPS:
        expected = released_array(total, cycles, 0.0, ratio)
        assert betas(schedule, 1, total) == pytest.approx(expected, abs=1e-9), total  # theirs adds up to 4,321 times


@pytest.mark.parametrize("cycles", [1, 3, 4, 7, 10])
@pytest.mark.parametrize("shares", [(0.5, 0.25), (0.3, 0.5), (0.25, 0.75), (0.5, 0.5)])
def test_the_released_zero_linear_array(cycles: int, shares: tuple[float, float]) -> None:
    zero, increase = shares
    schedule = ReleasedZeroLinear(cycles=cycles, zero=zero, increase=increase)
    for total in STEPS:
        expected = released_array(total, cycles, zero, increase)
        assert betas(schedule, 1, total) == pytest.approx(expected, abs=1e-9), total


def test_continuous_time_and_released_steps_differ_where_a_period_is_no_whole_number() -> None:
    """The second of four periods of 997 steps starts at time 249.25."""
    step = StageStep(249, 1, 997)
    assert [schedule().beta(step) for schedule in (Cyclical, ReleasedCyclical)] == [1.0, 0.0]
    assert [schedule(cycles=4).beta(step) for schedule in (ZeroLinear, ReleasedZeroLinear)] == [1.0, 0.0]


def test_continuous_time_and_released_steps_agree_where_the_parts_of_a_period_are_whole_numbers() -> None:
    for continuous, released in (
        (Cyclical(), ReleasedCyclical()),
        (ZeroLinear(cycles=4), ReleasedZeroLinear(cycles=4)),
    ):
        assert betas(continuous, 10, 80) == pytest.approx(betas(released, 10, 80), abs=1e-12)


def test_an_odd_number_of_epochs_ends_in_the_minimum() -> None:
    assert betas(TwoEpochCycle(), 8, 24)[16:] == [1e-5] * 8


@given(st.integers(1, 50), st.integers(1, 10), st.sampled_from([Linear(), Cyclical(), TwoEpochCycle()]))
def test_weights_lie_between_0_and_1_and_end_at_1_or_in_the_minimum(spe: int, epochs: int, schedule: Schedule) -> None:
    weights = betas(schedule, spe, spe * epochs)
    assert all(0.0 <= weight <= 1.0 for weight in weights)
    if isinstance(schedule, Linear):
        assert weights == sorted(weights)


# What each group's KL counts for in the loss, by the number of groups.
SHARES: dict[Reduction, Callable[[int], list[float]]] = {
    SumGroups(): lambda groups: [1.0] * groups,
    MeanGroups(): lambda groups: [1.0 / groups] * groups,
    FirstGroup(): lambda groups: [1.0, *[0.0] * (groups - 1)],
    LastGroup(): lambda groups: [*[0.0] * (groups - 1), 1.0],
}


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("reduction", SHARES, ids=lambda reduction: type(reduction).__name__)
def test_loss_and_gradients_are_the_formula(reduction: Reduction, groups: int) -> None:
    torch.manual_seed(0)
    batch, n, weight = 3, 4, 0.7
    log_likelihood = torch.randn(batch, n, dtype=torch.float64, requires_grad=True)
    kl = torch.rand(batch, n, groups, dtype=torch.float64, requires_grad=True)
    shares = SHARES[reduction](groups) if groups else []

    loss = Objective(Constant(weight=weight), reduction=reduction).loss(
        log_likelihood, path_of_groups(kl), StageStep(0, 1, 1)
    )
    values = (log_likelihood.tolist(), kl.tolist())
    for loss_of_text, ll, terms in zip(loss.tolist(), *values, strict=True):
        penalties = [sum(share * term for share, term in zip(shares, terms[k], strict=True)) for k in range(n)]
        expected = sum(weight * penalties[k] - ll[k] for k in range(n)) / n
        assert loss_of_text == pytest.approx(expected, abs=1e-12)

    by_likelihood, by_kl = torch.autograd.grad(loss.sum(), (log_likelihood, kl))
    torch.testing.assert_close(by_likelihood, torch.full_like(log_likelihood, -1 / n))
    torch.testing.assert_close(by_kl, weight * torch.tensor(shares, dtype=torch.float64).expand_as(kl) / n)


@pytest.mark.parametrize("groups", [1, 2, 12])
def test_averaging_groups_is_a_beta_vae_with_beta_divided_by_their_number(groups: int) -> None:
    torch.manual_seed(0)
    log_likelihood, kl = torch.randn(5, 2, dtype=torch.float64), torch.rand(5, 2, groups, dtype=torch.float64)
    step = StageStep(0, 1, 1)
    mean = Objective(reduction=MeanGroups()).loss(log_likelihood, path_of_groups(kl), step)
    beta = Objective(Constant(weight=1.0 / groups)).loss(log_likelihood, path_of_groups(kl), step)
    torch.testing.assert_close(mean, beta, rtol=0, atol=1e-12)


def test_the_schedule_weighs_the_kl_alone() -> None:
    objective = Objective(TwoEpochCycle())
    log_likelihood, path = torch.tensor([[-3.0]]), path_of_groups(torch.tensor([[[0.5, 1.5]]]))
    losses = [float(objective.loss(log_likelihood, path, StageStep(step, 4, 8))) for step in range(8)]
    assert losses == pytest.approx([3.0 + 2.0 * float(two_epoch_cycle(step, 4, 1e-5)) for step in range(8)], abs=1e-6)


def test_without_parts_the_loss_is_the_negative_elbo() -> None:
    objective = build_objective(())
    path = path_of_groups(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    loss = objective.loss(torch.tensor([[-3.0, -5.0]]), path, StageStep(0, 1, 1))
    assert loss.tolist() == [(3.0 + 3.0 + 5.0 + 7.0) / 2]


def test_parts_are_resolved_to_the_last_default() -> None:
    assert resolve_objective(["cyclical:ratio=0.25", "mean-groups"]) == ObjectiveSpec(
        parts=(
            PartSpec(name="cyclical", options={"cycles": 4, "ratio": 0.25}),
            PartSpec(name="mean-groups", options={}),
        )
    )


def test_a_stored_objective_is_the_one_that_was_resolved() -> None:
    spec = resolve_objective(["two-epoch-cycle:1e-4", "mean-groups"])
    stored = ObjectiveSpec.model_validate_json(spec.model_dump_json())
    assert build_objective(stored.parts) == Objective(TwoEpochCycle(minimum=1e-4), reduction=MeanGroups())


@pytest.mark.parametrize(
    "label", ["constant", "linear+then+free-bits+mean-groups", "bow", "li-2019", "cyclical+batch-norm"]
)
def test_the_parts_of_a_run_are_those_that_its_stages_are_built_from(label: str) -> None:
    spec = resolve_objective(label.split("+"))
    built = {type(part) for stage in build_stages(spec, epochs=4) for part in stage.objective.parts}
    types = part_types(spec)
    assert set(types.values()) == built
    assert {name: OBJECTIVES.get(name) for name in types} == types


def test_the_cycle_reads_the_key_of_older_records() -> None:
    stored = PartSpec(name="two-epoch-cycle", options={"floor": 1e-4})
    assert build_objective((stored,)).schedule == TwoEpochCycle(minimum=1e-4)


def test_every_part_and_every_systems_default_resolves() -> None:
    for name in set(OBJECTIVES.names()) - {"then"}:  # which divides others
        build_stages(resolve_objective([name]), epochs=3)
    for name in SYSTEMS.names():
        build_stages(resolve_objective(SYSTEMS.get(name).default_objective.split("+")), epochs=3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["cyclical", "linear"], "objective 'cyclical+linear': 'cyclical' and 'linear' are both a schedule."),
        (["sum-groups", "mean-groups"], "'sum-groups' and 'mean-groups' are both a reduction."),
        (["cyclic"], "unknown objective 'cyclic'. Did you mean 'cyclical'?"),
        (["cyclical:cycle=2"], "'cyclical:cycle=2': unknown key 'cycle'. Did you mean 'cycles'?"),
        (["cyclical:cycles=0"], "'cyclical:cycles=0': cycles: Input should be greater than or equal to 1 (got 0)."),
        (
            ["zero-linear:zero=0.8,increase=0.5"],
            "'zero-linear:zero=0.8,increase=0.5': zero (0.8) and",
        ),
        (["mean-groups:2"], "'mean-groups:2': takes at most 0 arguments (none)."),
    ],
)
def test_bad_objectives_are_one_line(parts: list[str], message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        resolve_objective(parts)


def test_a_stored_option_of_another_version_is_named() -> None:
    spec = ObjectiveSpec(parts=(PartSpec(name="cyclical", options={"periods": 4}),))
    with pytest.raises(BenchError, match=r"^objective 'cyclical': unknown key 'periods'\."):
        build_objective(spec.parts)


def test_a_third_partys_part_is_found_by_entry_point(install: Callable[..., Path]) -> None:
    source = (
        "from bench.objectives import Schedule\n"
        "class Doubled(Schedule):\n"
        "    weight: float = 1.0\n"
        "    def beta(self, step):\n"
        "        return 2 * self.weight\n"
    )
    install("acme_schedules", {"doubled": "acme_schedules.parts:Doubled"}, OBJECTIVES.group, parts=source)
    objective = build_objective(resolve_objective(["doubled:1.5", "mean-groups"]).parts)
    assert objective.schedule.beta(StageStep(0, 1, 1)) == 3.0


def test_options_are_frozen() -> None:
    part: Any = Cyclical()
    with pytest.raises(ValueError, match="frozen"):
        part.cycles = 2

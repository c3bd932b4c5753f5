"""KL weights over the steps of a stage.

``cyclical`` and ``zero-linear`` take time as continuous: a period is steps / cycles long, whole number or not, and a
step has the weight of the time at which it starts. The released arrays count whole steps instead. Where a period or the
zero part of it is not a whole number of steps, the two differ: with 997 steps and 4 cycles, the second period starts at
time 249.25, so step 249 ends the first period here (weight 1), and starts the second there (weight 0). The released
arrays have names of their own: ``cyclical-2019`` and ``zero-linear-2020``.
"""

from __future__ import annotations

import math

from pydantic import AliasChoices, Field, model_validator
from typing_extensions import override

from bench.objectives.part import Schedule, StageStep


class Constant(Schedule):
    """The same weight throughout: 1 is the ELBO, less is a beta-VAE."""

    weight: float = Field(1.0, ge=0)

    @override
    def beta(self, step: StageStep) -> float:
        return self.weight


class Linear(Schedule):
    """A ramp from ``start`` to 1 over the first ``epochs`` (Bowman et al. 2016; He et al. 2019 use 10 epochs from 0.1).

    The ramp takes at most the fraction ``at_most`` of the stage, so that the rest trains the ELBO.
    """

    epochs: float = Field(10.0, gt=0)
    start: float = Field(0.1, ge=0, le=1)
    at_most: float = Field(0.5, gt=0, le=1)

    @override
    def beta(self, step: StageStep) -> float:
        length = min(self.epochs * step.per_epoch, self.at_most * step.total)
        return min(1.0, self.start + (1.0 - self.start) * step.number / length)


class Cyclical(Schedule):
    """``cycles`` equal periods, each with a ramp from 0 to 1 over the fraction ``ratio``, then 1 (Fu et al. 2019)."""

    cycles: int = Field(4, ge=1)
    ratio: float = Field(0.5, gt=0, le=1)

    @override
    def beta(self, step: StageStep) -> float:
        return _cycle(step, self.cycles, 0.0, self.ratio)


class ZeroLinear(Schedule):
    """``cycles`` equal periods, each 0 for the fraction ``zero``, a ramp over ``increase``, then 1 (Optimus).

    Optimus is fine-tuned with one cycle and pre-trained with ten.
    """

    cycles: int = Field(1, ge=1)
    zero: float = Field(0.5, ge=0, lt=1)
    increase: float = Field(0.25, gt=0, le=1)

    @model_validator(mode="after")
    def _fits_its_period(self) -> ZeroLinear:
        if self.zero + self.increase > 1:
            raise ValueError(f"zero ({self.zero}) and increase ({self.increase}) are together more than a period")
        return self

    @override
    def beta(self, step: StageStep) -> float:
        return _cycle(step, self.cycles, self.zero, self.increase)


class ReleasedCyclical(Cyclical):
    """``cyclical`` in whole steps: the array of the code of Fu et al. (2019), ``frange_cycle_linear``."""

    @override
    def beta(self, step: StageStep) -> float:
        return _released_cycle(step, self.cycles, 0.0, self.ratio)


class ReleasedZeroLinear(ZeroLinear):
    """``zero-linear`` in whole steps: the array of the code of Optimus, ``frange_cycle_zero_linear``."""

    @override
    def beta(self, step: StageStep) -> float:
        return _released_cycle(step, self.cycles, self.zero, self.increase)


def _cycle(step: StageStep, cycles: int, zero: float, increase: float) -> float:
    # In integers: by rounding, a period that is not a whole number of steps would begin one step late.
    position = step.number * cycles % step.total
    return min(1.0, max(0.0, (position - zero * step.total) / (increase * step.total)))


def _released_cycle(step: StageStep, cycles: int, zero: float, increase: float) -> float:
    # Period c starts at the step before its time, c * total / cycles rounded down; the ramp starts from 0 at the first
    # step that is not before its time.
    period = step.total / cycles
    latest = ((step.number + 1) * cycles - 1) // step.total
    position = step.number - latest * step.total // cycles
    return min(1.0, max(0.0, (position - math.ceil(zero * period)) / (increase * period)))


class TwoEpochCycle(Schedule):
    """The two-epoch cycle of the DELLA paper (appendix A.1).

    The weight is ``minimum`` for half of the two epochs, rises for a quarter and is 1 for a quarter. A stage with an
    odd number of epochs ends in a half of ``minimum``. The released code increases the weight before each step of the
    rise, so its first step is already above ``minimum``.
    """

    # Older records call it floor.
    minimum: float = Field(1e-5, ge=0, le=1, validation_alias=AliasChoices("minimum", "floor"))

    @override
    def beta(self, step: StageStep) -> float:
        position = (step.number / step.per_epoch) % 2.0
        ramp = min(1.0, max(0.0, (position - 1.0) / 0.5))
        return self.minimum + (1.0 - self.minimum) * ramp

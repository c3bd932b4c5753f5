"""KL weights over time."""

from __future__ import annotations

from pydantic import Field, model_validator

from bench.objectives.part import Clock, Schedule


class Constant(Schedule):
    """The same weight throughout: 1 is the ELBO, less is a beta-VAE."""

    weight: float = Field(1.0, ge=0)

    def beta(self, clock: Clock) -> float:
        """Returns the weight."""
        return self.weight


class Linear(Schedule):
    """A ramp from ``start`` to 1 over the first ``epochs`` (Bowman et al. 2016; He et al. 2019 use 10 epochs from 0.1).

    Where a run is shorter, the ramp is cut to the fraction ``at_most`` of it, so that some of it trains the ELBO.
    """

    epochs: float = Field(10.0, gt=0)
    start: float = Field(0.1, ge=0, le=1)
    at_most: float = Field(0.5, gt=0, le=1)

    def beta(self, clock: Clock) -> float:
        """Returns the weight on the ramp, or 1 behind it."""
        length = min(self.epochs * clock.steps_per_epoch, self.at_most * clock.total_steps)
        return min(1.0, self.start + (1.0 - self.start) * clock.step / length)


class Cyclical(Schedule):
    """``cycles`` equal periods, in each a ramp from 0 to 1 over ``ratio`` of it, then 1 (Fu et al. 2019)."""

    cycles: int = Field(4, ge=1)
    ratio: float = Field(0.5, gt=0, le=1)

    def beta(self, clock: Clock) -> float:
        """Returns the weight at this place of the period."""
        return _cycle(clock, self.cycles, 0.0, self.ratio)


class ZeroLinear(Schedule):
    """``cycles`` equal periods: 0 for the fraction ``zero``, a ramp over ``increase`` of it, then 1 (Optimus).

    Optimus is fine-tuned with one cycle and pre-trained with ten. As in its code the first step of the ramp still
    weighs 0.
    """

    cycles: int = Field(1, ge=1)
    zero: float = Field(0.5, ge=0, lt=1)
    increase: float = Field(0.25, gt=0, le=1)

    @model_validator(mode="after")
    def _fits_its_period(self) -> ZeroLinear:
        if self.zero + self.increase > 1:
            raise ValueError(f"zero ({self.zero}) and increase ({self.increase}) are together more than a period")
        return self

    def beta(self, clock: Clock) -> float:
        """Returns the weight at this place of the period."""
        return _cycle(clock, self.cycles, self.zero, self.increase)


def _cycle(clock: Clock, cycles: int, zero: float, increase: float) -> float:
    # In whole numbers: a period that is not one would restart a step late by rounding.
    place = clock.step * cycles % clock.total_steps
    return min(1.0, max(0.0, (place - zero * clock.total_steps) / (increase * clock.total_steps)))


class TwoEpochCycle(Schedule):
    """The DELLA paper's two-epoch cycle (appendix A.1).

    The weight is ``minimum`` for a half of the two epochs, rises for a quarter and is 1 for a quarter. A run with an
    odd number of epochs ends in a half of ``minimum``. The released code adds a constant to the weight at every step of
    the rise, so its first step is already above ``minimum``.
    """

    minimum: float = Field(1e-5, ge=0, le=1)

    def beta(self, clock: Clock) -> float:
        """Returns the weight at this place of the two epochs."""
        place = (clock.step / clock.steps_per_epoch) % 2.0
        ramp = min(1.0, max(0.0, (place - 1.0) / 0.5))
        return self.minimum + (1.0 - self.minimum) * ramp

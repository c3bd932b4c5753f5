"""What a piece of an objective is, kind by kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.specs import Spec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.batch import Batch
    from bench.interface import LatentPath, System
    from bench.objectives.gradient_flow import GradientFlow

Kind = Literal["schedule", "threshold", "reduction", "auxiliary loss", "adaptation", "inner loop", "stage", "recipe"]


@dataclass(frozen=True)
class Clock:
    """Where training stands within its stage.

    Attributes:
        step: optimizer steps of the stage taken before this one.
        steps_per_epoch: of this run.
        total_steps: of the stage.
    """

    step: int
    steps_per_epoch: int
    total_steps: int


class Part(Spec):
    """A piece of an objective; its fields are its options.

    Class attributes:
        kind: what it is a piece of.
        several: whether an objective may have more than one of the kind.
    """

    kind: ClassVar[Kind]
    several: ClassVar[bool] = False

    def conflict(self, others: Sequence[Part]) -> str | None:
        """Returns why this part means nothing beside one of the others, or None."""
        return None

    def unsupported(self, flow: GradientFlow) -> str | None:
        """Returns why this part means nothing for a system, or None."""
        return None


class Schedule(Part):
    """The weight of the KL term over time."""

    kind = "schedule"

    @abstractmethod
    def beta(self, clock: Clock) -> float:
        """Returns the KL weight of the step that the clock shows."""


class KLThreshold(Part):
    """What the KL terms of a text are penalised for."""

    kind = "threshold"

    @abstractmethod
    def __call__(self, path: LatentPath) -> Tensor:
        """Returns the penalised KL of each group (B x n x G), or of the whole text (B x n x 1), in nats."""


class Reduction(Part):
    """How the KL terms of a text's latent groups become one."""

    kind = "reduction"

    @abstractmethod
    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the penalty (B x n) for the KL of each group (B x n x G), in nats."""


class AuxiliaryLoss(Part):
    """A further term of the loss, with parameters of its own, which are no part of the scored system.

    Class attributes:
        name: under which its unweighted terms are logged.
    """

    kind = "auxiliary loss"
    several = True
    name: ClassVar[str]

    weight: float

    @abstractmethod
    def network(self, system: System) -> nn.Module:
        """Returns its parameters, newly drawn from torch's global generator."""

    @abstractmethod
    def terms(self, network: nn.Module, system: System, batch: Batch, path: LatentPath) -> Tensor:
        """Returns what ``weight`` multiplies (B x n), in nats."""


class InnerLoop(Part):
    """Updates of the encoder alone before each step, for as long as they help.

    Attributes:
        look: updates between two looks at their loss.
        at_most: updates before a step.
    """

    kind = "inner loop"

    look: int
    at_most: int


class Adaptation(Part):
    """A change to the system itself. It is part of what is scored, so all stages have it if one does."""

    kind = "adaptation"
    several = True

    @abstractmethod
    def adapt(self, system: System) -> None:
        """Changes a system that was just built."""


class Then(Part):
    """Ends a stage: the parts before it train the first epochs, ``share`` of all, the parts after it the others.

    Epochs are whole, and every stage has one at least. Each stage has its own clock, so its schedule is that of a run
    of its length; warm-up and the optimizer's state go through. Only epochs of the last stage can be the best one.

    Attributes:
        share: of all epochs.
        reset: ``decoder`` takes what p(x | z) alone uses back to its values before training (Li et al. 2019 discard
            the decoder of the autoencoder they start from). On a stack that encoder and decoder share this is no more
            than what z is multiplied with.
    """

    kind = "stage"

    share: float = Field(0.5, gt=0, lt=1)
    reset: Literal["decoder"] | None = None


class Recipe(Part):
    """A published sequence of stages under one name; its options are what the paper varies."""

    kind = "recipe"

    @abstractmethod
    def expand(self) -> str:
        """Returns the label it stands for: ``part+part+then:share+part...``."""

"""The kinds of parts that an objective is built from, and their registry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.registry import Registry
from bench.specs import Spec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.batch import Batch
    from bench.interface import LatentPath, System
    from bench.objectives.gradient_flow import GradientFlow

Kind = Literal["schedule", "threshold", "reduction", "auxiliary loss", "adaptation", "inner loop", "stage", "recipe"]


@dataclass(frozen=True)
class StageStep:
    """An optimizer step, counted within its stage.

    Attributes:
        number: steps of the stage before this one.
        per_epoch: steps in an epoch.
        total: steps of the whole stage.
    """

    number: int
    per_epoch: int
    total: int


class Part(Spec):
    """A part of an objective; its fields are its options.

    Class attributes:
        kind: what the part is, as messages call it.
        one_per_stage: whether a stage has at most one part of the kind.
        version: rises whenever the same options train other weights. That of a recipe or of ``then`` is no component of
            a run, because its spec holds what they stand for.
    """

    kind: ClassVar[Kind]
    one_per_stage: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def conflict(self, others: Sequence[Part]) -> str | None:
        """Returns why the parts of a stage cannot be combined with this one, or None if they can."""
        return None

    def supports(self, flow: GradientFlow) -> str | None:
        """Returns None if the part can train the system, else the reason why it cannot."""
        return None


class Schedule(Part):
    """The weight beta of the KL over the steps of a stage."""

    kind = "schedule"

    @abstractmethod
    def beta(self, step: StageStep) -> float:
        """Returns the weight at a step."""


class KLThreshold(Part):
    """The part of the KL terms that is penalised."""

    kind = "threshold"

    @abstractmethod
    def __call__(self, path: LatentPath) -> Tensor:
        """Returns the penalised KL of each group (B x n x G), or of the whole text (B x n x 1), in nats."""


class Reduction(Part):
    """How the KL terms of the latent groups become one number."""

    kind = "reduction"

    @abstractmethod
    def __call__(self, kl: Tensor) -> Tensor:
        """Returns the penalty (B x n) for the KL of each group (B x n x G), in nats."""


class AuxiliaryLoss(Part):
    """A further term of the loss. Its own parameters are trained with the system and left out of the scored model.

    Class attributes:
        name: its unweighted terms are logged under this name.
    """

    kind = "auxiliary loss"
    one_per_stage = False
    name: ClassVar[str]

    weight: float

    @abstractmethod
    def network(self, system: System) -> nn.Module:
        """Returns its parameters, newly drawn from torch's global generator."""

    @abstractmethod
    def terms(self, network: nn.Module, system: System, batch: Batch, path: LatentPath) -> Tensor:
        """Returns the loss before it is multiplied by ``weight`` (B x n), in nats."""


class InnerLoop(Part):
    """Updates of the encoder alone before each step, as long as they lower the loss; see ``aggressive``."""

    kind = "inner loop"

    look: int
    at_most: int


class Adaptation(Part):
    """A change to the system itself, trained and scored; every stage has the same ones."""

    kind = "adaptation"
    one_per_stage = False

    @abstractmethod
    def adapt(self, system: System) -> None:
        """Changes a system that was just built."""


class StageEnd(Part):
    """Ends a stage: the parts before it train the first ``share`` of the epochs, the parts after it the rest.

    Shares are rounded to whole epochs, at least one. Schedules count the steps of their own stage; warm-up and the
    optimizer's state run through all stages. The best epoch is chosen among those of the last stage.

    Attributes:
        share: of all epochs.
        reset: ``decoder`` gives the parameters that p(x | z) alone uses their values before training (Li et al. 2019
            discard the decoder of the autoencoder they start from). If encoder and decoder share a stack, these are
            only the maps that multiply z.
    """

    kind = "stage"

    share: float = Field(0.5, gt=0, lt=1)
    reset: Literal["decoder"] | None = None


class Recipe(Part):
    """A published sequence of stages under one name; its options are what the paper varies."""

    kind = "recipe"

    @abstractmethod
    def expand(self) -> str:
        """Returns the label of its stages: ``part+part+then:share+part...``."""


OBJECTIVES: Registry[type[Part]] = Registry(
    "objective",
    {
        "constant": "bench.objectives.schedules:Constant",
        "linear": "bench.objectives.schedules:Linear",
        "cyclical": "bench.objectives.schedules:Cyclical",
        "cyclical-2019": "bench.objectives.schedules:ReleasedCyclical",
        "zero-linear": "bench.objectives.schedules:ZeroLinear",
        "zero-linear-2020": "bench.objectives.schedules:ReleasedZeroLinear",
        "two-epoch-cycle": "bench.objectives.schedules:TwoEpochCycle",
        "free-bits": "bench.objectives.free_bits:FreeBits",
        "sum-groups": "bench.objectives.reductions:SumGroups",
        "mean-groups": "bench.objectives.reductions:MeanGroups",
        "first-group": "bench.objectives.reductions:FirstGroup",
        "last-group": "bench.objectives.reductions:LastGroup",
        "bow": "bench.objectives.bow:BagOfWords",
        "batch-norm": "bench.objectives.batch_norm:BatchNorm",
        "aggressive": "bench.objectives.aggressive:Aggressive",
        "then": "bench.objectives.part:StageEnd",
        "li-2019": "bench.objectives.recipes:Li2019",
        "optimus-2020": "bench.objectives.recipes:Optimus2020",
    },
    "della_bench.objectives",
)

"""What is optimised, apart from what is reported: parts that make a loss, independent of any model.

An objective is written ``part+part``; each part is of a kind, and a kind that is not named keeps its default. The loss
of a text is

    -log p(x | z) + beta(t) * reduction over groups of floor(KL) + weight * auxiliary loss

Schedules give beta(t), floors bound what the KL terms are penalised for, reductions say how groups become one number.
``part+then:share+part`` is two stages, each with an objective of its own; a recipe is a published sequence of stages.
"""

from bench.objectives.objective import Objective
from bench.objectives.part import (
    Adaptation,
    AuxiliaryLoss,
    Clock,
    InnerLoop,
    KLThreshold,
    Part,
    Recipe,
    Reduction,
    Schedule,
)
from bench.objectives.stages import (
    OBJECTIVES,
    Stage,
    adapt,
    build_objective,
    build_stages,
    resolve_objective,
    stage_epochs,
    unsupported,
)

__all__ = [
    "OBJECTIVES",
    "Adaptation",
    "AuxiliaryLoss",
    "Clock",
    "InnerLoop",
    "KLThreshold",
    "Objective",
    "Part",
    "Recipe",
    "Reduction",
    "Schedule",
    "Stage",
    "adapt",
    "build_objective",
    "build_stages",
    "resolve_objective",
    "stage_epochs",
    "unsupported",
]

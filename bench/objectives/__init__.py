"""The training loss, built from parts that know no particular system.

The loss of a text x, in nats, at optimizer step t:

    loss(x, t) = mean_z [ -log p(x | z) + beta(t) R(T(KL_1), ..., T(KL_G)) + sum_a w_a L_a(x, z) ]

The mean is over the samples z of q(z | x), and KL_g is the KL term of latent group g. The parts of an objective choose

- beta, the schedule: the weight of the KL; 1 by default
- T, the KL threshold, such as free bits: the part of each KL term that is penalised; all of it by default
- R, the reduction: one number from those of the groups; their sum by default
- L_a and w_a, auxiliary losses and their weights; none by default.

A label names parts, as in ``cyclical+free-bits:0.5``. ``part+then:share+part`` trains two stages, each with its own
objective; a recipe is one name for a published sequence of stages.
"""

from bench.objectives.objective import Objective, apply_adaptations, build_objective, part_types
from bench.objectives.part import (
    OBJECTIVES,
    Adaptation,
    AuxiliaryLoss,
    InnerLoop,
    KLThreshold,
    Part,
    Recipe,
    Reduction,
    Schedule,
    StageStep,
)
from bench.objectives.stages import Stage, build_stages, resolve_objective, stage_epochs, unsupported_reason

__all__ = [
    "OBJECTIVES",
    "Adaptation",
    "AuxiliaryLoss",
    "InnerLoop",
    "KLThreshold",
    "Objective",
    "Part",
    "Recipe",
    "Reduction",
    "Schedule",
    "Stage",
    "StageStep",
    "apply_adaptations",
    "build_objective",
    "build_stages",
    "part_types",
    "resolve_objective",
    "stage_epochs",
    "unsupported_reason",
]

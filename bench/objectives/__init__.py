"""What is optimised, apart from what is reported: parts that make a loss, independent of any model.

An objective is written ``part+part``; each part is of a kind, and a kind that is not named keeps its default. The loss
of a text is

    -log p(x | z) + beta(t) * reduction over groups of floor(KL)

Schedules give beta(t), floors bound what the KL terms are penalised for, reductions say how groups become one number.
"""

from bench.objectives.objective import OBJECTIVES, Objective, build_objective, resolve_objective
from bench.objectives.part import Clock, Floor, Part, Reduction, Schedule

__all__ = [
    "OBJECTIVES",
    "Clock",
    "Floor",
    "Objective",
    "Part",
    "Reduction",
    "Schedule",
    "build_objective",
    "resolve_objective",
]

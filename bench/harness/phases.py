"""The phases of a run, and the callback that receives their progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping

OnPhase = Callable[[str, float], None]
"""Takes the name of a phase and the fraction of it that is done."""

# Start and share of each phase in the time of a run, for progress only.
PHASES = {"train": (0.0, 0.75), "score": (0.75, 0.2), "generate": (0.95, 0.05)}
PHASES_OF_SCORING = {"score": (0.0, 0.8), "generate": (0.8, 0.2)}


def progress_of_phases(
    on_progress: Callable[[float], None], phases: Mapping[str, tuple[float, float]] = PHASES
) -> OnPhase:
    """Returns a callback for phases that calls ``on_progress`` with the fraction of the whole run that is done."""

    def on_phase(phase: str, fraction: float) -> None:
        start, share = phases[phase]
        on_progress(start + share * fraction)

    return on_phase

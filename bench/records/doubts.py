"""Reasons to doubt the scores of a finished run: training that had not ended, and a KL without information.

Both are derived from what a run stored, so they are no part of its identity and hold for old records too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bench.records.store import StoredRun

STILL_FALLING: Final = 0.01
"""Relative fall of the validation ELBO per epoch from which training had not ended.

Of a text of 30 nats and 12 tokens, 1 % is 2.5 % of the perplexity: as much as lies between neighbours in a table.
"""

KL_TO_EXPLAIN: Final = 1.0
"""Nats: a smaller KL is near collapse, where the estimate of MI is as large as its noise, and is not judged."""

INFORMATIVE_PART: Final = 0.1
"""Least ratio of MI to KL. What is above MI is KL(q(z) || p(z)), which a posterior that ignores the text also has."""


@dataclass(frozen=True)
class TrainingEnd:
    """How the training of a run ended.

    Attributes:
        epochs: number of epochs with a validation.
        best_epoch: epoch of the last stage with the lowest validation ELBO, counted from 1.
        fall: how far the last epoch is below the best earlier epoch of the same stage, relative to that and per epoch
            since; not positive if an earlier epoch is best; None if the stage had one epoch.
    """

    epochs: int
    best_epoch: int
    fall: float | None

    @property
    def is_still_falling(self) -> bool:
        """Whether more epochs would have given another result."""
        return self.fall is not None and self.fall >= STILL_FALLING


def training_end(run: StoredRun) -> TrainingEnd | None:
    """Returns how the training of a run ended; None without a learning curve of validations.

    The last epoch is compared with the best earlier one, not with the one before it: cyclical schedules train every
    other epoch for another loss, and the validation ELBO jumps.

    Raises:
        BenchError: the curve is damaged.
    """
    rows = [row for row in run.curve() or () if isinstance(row, dict) and "valid ELBO" in row]
    elbos = [_positive(row["valid ELBO"]) for row in rows if row.get("stage") == rows[-1].get("stage")]
    if not elbos or any(map(math.isnan, elbos)):
        return None
    earlier_stages = len(rows) - len(elbos)
    best = earlier_stages + 1 + elbos.index(min(elbos))
    if len(elbos) == 1:
        return TrainingEnd(len(rows), best, None)
    reference = min(elbos[:-1])
    epochs = len(elbos) - 1 - elbos.index(reference)
    return TrainingEnd(len(rows), best, (reference - elbos[-1]) / reference / epochs)


def _positive(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else math.nan


def training_ends(runs: Iterable[StoredRun]) -> dict[str, TrainingEnd]:
    """Returns run id to the end of its training, of the finished runs that have a learning curve.

    Raises:
        BenchError: a curve is damaged.
    """
    finished = (run for run in runs if run.record.status == "finished")
    return {run.record.run_id: end for run in finished if (end := training_end(run)) is not None}


def is_uninformative(kl: float, mi: float, n_texts: int | None) -> bool:
    """Returns whether a KL tells nothing about the texts.

    Args:
        kl: in nats per text.
        mi: mutual information of text and latent variables, in nats.
        n_texts: number of texts of the estimate of MI, which cannot exceed its logarithm.
    """
    most = math.log(n_texts) if n_texts else math.inf
    return kl > KL_TO_EXPLAIN and mi < INFORMATIVE_PART * min(kl, most)

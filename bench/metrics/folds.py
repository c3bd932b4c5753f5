"""Cross-validation: which rows are held out, and the simplest prediction for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.intp]


def folds_of(n: int, folds: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Yields for each fold whether a row is in it (N); row i is in fold i modulo ``folds``."""
    yield from (np.arange(n) % folds == fold for fold in range(folds))


def predict_most_frequent(labels: Labels, folds: int) -> Labels:
    """Predicts each row as the most frequent class of the other folds; of equally frequent ones, the first.

    Args:
        labels: the class of every row, from 0 (N).
        folds: at most N.
    """
    predicted = np.zeros_like(labels)
    for held_out in folds_of(len(labels), folds):
        predicted[held_out] = np.bincount(labels[~held_out]).argmax()
    return predicted

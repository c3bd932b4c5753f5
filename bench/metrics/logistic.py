"""Multinomial logistic regression, several at once on the same features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bench.bootstrap import Array

Labels = npt.NDArray[np.intp]

MAX_ITERATIONS = 1000
GRADIENT = 1e-3
"""Largest entry of the gradient that counts as none: of a sum over rows, it moves no prediction to speak of."""


def fit(features: Array, labels: Sequence[Labels], penalty: float) -> list[tuple[Array, Array]]:
    """Minimises, for each labelling, the cross-entropy summed over rows plus penalty / 2 times the squared weights.

    The problem is convex; it is solved by L-BFGS from zero, for all labellings in one go, in double precision.

    Args:
        features: N x D.
        labels: of each labelling the class of every row, from 0 to C - 1 (N).
        penalty: on the weights, not on the intercepts.

    Returns:
        Weights (D x C) and intercepts (C) of each labelling.
    """
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    targets = torch.cat([one_hot(torch.from_numpy(one)).double() for one in labels], dim=1)
    sizes = [int(one.max()) + 1 for one in labels]
    weights, intercepts = x.new_zeros(x.shape[1], sum(sizes)), x.new_zeros(sum(sizes))
    optimizer = torch.optim.LBFGS(
        [weights, intercepts],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=GRADIENT,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        logits = x @ weights + intercepts
        log_p = torch.cat([one.log_softmax(dim=1) for one in logits.split(sizes, dim=1)], dim=1)
        error = log_p.exp() - targets
        weights.grad = x.T @ error + penalty * weights
        intercepts.grad = error.sum(dim=0)
        return 0.5 * penalty * weights.square().sum() - (targets * log_p).sum()

    optimizer.step(loss)
    solved = zip(weights.split(sizes, dim=1), intercepts.split(sizes), strict=True)
    return [(weight.numpy(), intercept.numpy()) for weight, intercept in solved]


def held_out(features: Array, labels: Sequence[Labels], penalty: float, folds: int) -> list[Labels]:
    """Predicts each row by a regression that has not seen it: row i is in fold i modulo ``folds``.

    A class that a fold's other rows lack is never predicted there.

    Args:
        features: N x D.
        labels: of each labelling the class of every row (N).
        penalty: see ``fit``.
        folds: at most N.

    Returns:
        The predicted class of every row, for each labelling.
    """
    fold = np.arange(len(features)) % folds
    predictions = [np.zeros_like(one) for one in labels]
    for held in range(folds):
        seen, unseen = fold != held, fold == held
        known = [np.unique(one[seen], return_inverse=True) for one in labels]
        models = fit(features[seen], [places for _, places in known], penalty)
        for predicted, (classes, _), (weights, intercepts) in zip(predictions, known, models, strict=True):
            predicted[unseen] = classes[(features[unseen] @ weights + intercepts).argmax(axis=1)]
    return predictions

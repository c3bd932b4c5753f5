"""Multinomial logistic regression: several regressions on the same features at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bench.bootstrap import Array
from bench.metrics.folds import Labels, folds_of

MAX_ITERATIONS = 1000
GRADIENT = 1e-3
"""The solver stops when no entry of the gradient is larger; a sum over rows, so the effect on predictions is small."""


def fit(features: Array, labels: Sequence[Labels], penalty: float) -> list[tuple[Array, Array]]:
    """Minimises, for each labelling, the cross-entropy summed over rows plus penalty / 2 times the squared weights.

    The problem is convex; it is solved by L-BFGS from zero, for all labellings together, in double precision.

    Args:
        features: N x D.
        labels: the class of every row, from 0 to C - 1, for each labelling (N).
        penalty: for the weights, not for the intercepts.

    Returns:
        Weights (D x C) and intercepts (C) of each labelling.
    """
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    targets = torch.cat([one_hot(torch.from_numpy(classes)).double() for classes in labels], dim=1)
    sizes = [int(classes.max()) + 1 for classes in labels]
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
        log_p = torch.cat([scores.log_softmax(dim=1) for scores in logits.split(sizes, dim=1)], dim=1)
        error = log_p.exp() - targets
        weights.grad = x.T @ error + penalty * weights
        intercepts.grad = error.sum(dim=0)
        return 0.5 * penalty * weights.square().sum() - (targets * log_p).sum()

    optimizer.step(loss)
    solved = zip(weights.split(sizes, dim=1), intercepts.split(sizes), strict=True)
    return [(weight.numpy(), intercept.numpy()) for weight, intercept in solved]


def predict_held_out(features: Array, labels: Sequence[Labels], penalty: float, folds: int) -> list[Labels]:
    """Predicts each row by a regression fitted on the other folds, those of ``folds_of``.

    A class that no row of the other folds has is never predicted.

    Args:
        features: N x D.
        labels: the class of every row, for each labelling (N).
        penalty: see ``fit``.
        folds: at most N.

    Returns:
        The predicted class of every row, for each labelling.
    """
    predictions = [np.zeros_like(classes) for classes in labels]
    for held_out in folds_of(len(features), folds):
        relabelled = [np.unique(classes[~held_out], return_inverse=True) for classes in labels]
        models = fit(features[~held_out], [places for _, places in relabelled], penalty)
        for predicted, (classes, _), (weights, intercepts) in zip(predictions, relabelled, models, strict=True):
            predicted[held_out] = classes[(features[held_out] @ weights + intercepts).argmax(axis=1)]
    return predictions

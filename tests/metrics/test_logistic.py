"""Logistic regression against scipy's minimiser of the written-out objective, and on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from bench.bootstrap import Array
from bench.metrics.logistic import fit, predict_held_out


def objective(parameters: Array, x: Array, labels: Array, classes: int, penalty: float) -> float:
    weights, intercepts = parameters[classes:].reshape(x.shape[1], classes), parameters[:classes]
    log_p = log_softmax(x @ weights + intercepts, axis=1)
    return float(-log_p[np.arange(len(x)), labels].sum() + 0.5 * penalty * (weights**2).sum())


@pytest.mark.parametrize(("penalty", "classes"), [(1.0, 2), (1.0, 4), (0.1, 3), (30.0, 3)])
def test_it_minimises_the_penalised_cross_entropy(penalty: float, classes: int) -> None:
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(80, 3)) * [1.0, 0.1, 3.0] + 0.5
    labels = (x @ rng.normal(size=(3, classes)) + rng.gumbel(size=(80, classes))).argmax(axis=1)
    assert len(set(labels)) == classes
    best = minimize(objective, np.zeros(4 * classes), args=(x, labels, classes, penalty), tol=1e-12)
    ((weights, intercepts),) = fit(x, [labels], penalty)
    ours = np.concatenate([intercepts, weights.ravel()])
    assert objective(ours, x, labels, classes, penalty) == pytest.approx(best.fun, rel=1e-8)
    # A gradient within 1e-3 of none, in a problem whose curvature is at least the penalty.
    expected = best.x[classes:].reshape(3, classes)
    np.testing.assert_allclose(weights, expected, atol=5e-3 / penalty)
    # Intercepts are free up to a common constant.
    np.testing.assert_allclose(np.diff(intercepts), np.diff(best.x[:classes]), atol=1e-2)


def test_several_at_once_are_what_each_is_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    labels = [rng.integers(0, classes, 60) for classes in (2, 5, 3)]
    together = fit(x, labels, 1.0)
    for (weights, intercepts), one in zip(together, labels, strict=True):
        ((alone, own),) = fit(x, [one], 1.0)
        np.testing.assert_allclose(weights, alone, atol=1e-3)
        np.testing.assert_allclose(intercepts - intercepts[0], own - own[0], atol=1e-3)


def test_without_features_it_predicts_the_commonest_class() -> None:
    labels = np.array([2, 0, 2, 1, 2, 2, 0, 2, 1, 2])
    (predicted,) = predict_held_out(np.zeros((10, 0)), [labels], 1.0, folds=5)
    assert predicted.tolist() == [2] * 10


def test_separable_classes_are_told_apart() -> None:
    labels = np.arange(60) % 4
    x = np.eye(4)[labels] * 5 + 0.1 * np.random.default_rng(0).normal(size=(60, 4))
    (predicted,) = predict_held_out(x, [labels], 1.0, folds=5)
    assert predicted.tolist() == labels.tolist()


def test_a_row_is_predicted_by_others_alone() -> None:
    """Each row's feature is its own: those who saw its label could read it off."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    (predicted,) = predict_held_out(100.0 * np.eye(40), [labels], 1e-3, folds=4)
    fold = np.arange(40) % 4
    for held in range(4):
        assert len(set(predicted[fold == held])) == 1  # nothing but the intercept speaks
    changed = labels.copy()
    changed[fold == 0] = 1 - changed[fold == 0]
    (again,) = predict_held_out(100.0 * np.eye(40), [changed], 1e-3, folds=4)
    assert (again[fold == 0] == predicted[fold == 0]).all()


def test_a_class_that_the_other_folds_lack_is_never_predicted() -> None:
    labels = np.array([7, 3, 3, 5, 3, 5, 3, 5])
    (predicted,) = predict_held_out(np.arange(8.0)[:, None], [labels], 1.0, folds=4)
    assert predicted[0] in (3, 5)
    assert set(predicted) <= {3, 5, 7}


def test_one_class_is_no_problem() -> None:
    (predicted,) = predict_held_out(np.arange(6.0)[:, None], [np.zeros(6, dtype=np.intp)], 1.0, folds=3)
    assert predicted.tolist() == [0] * 6

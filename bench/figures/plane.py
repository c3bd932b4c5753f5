"""What a map of a latent space shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.bootstrap import Array


@dataclass(frozen=True)
class Plane:
    """Posterior means of N texts in the plane in which they vary most.

    Attributes:
        title: of the model.
        points: coordinates (N x 2), with the mean of all texts at the origin.
        shares: of the variance, along each coordinate (2).
        factor: name of a factor of the texts.
        values: its value in each text (N).
    """

    title: str
    points: Array
    shares: Array
    factor: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, title: str, means: Array, factor: str, values: Sequence[str]) -> Plane:
        """Returns the plane of the first two principal components of posterior means (N x D)."""
        centred = means - means.mean(axis=0)
        left, sizes, _ = np.linalg.svd(np.pad(centred, ((0, 0), (0, max(0, 2 - means.shape[1])))), full_matrices=False)
        total = float((sizes**2).sum()) or 1.0
        return cls(title, left[:, :2] * sizes[:2], sizes[:2] ** 2 / total, factor, tuple(values))

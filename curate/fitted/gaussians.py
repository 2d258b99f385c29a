"""Gaussians of the reference's classes with a covariance that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.fitted.base import Doubles, squared_distances

# Added to every variance: directions in which the reference does not vary at all have none. The
# variances of unit-norm vectors are 1 / D at most, on average.
FLOOR = 1e-6


@dataclass(frozen=True)
class Gaussians:
    """Means (C, D), and what (D, D) maps a vector to where their covariance is the identity."""

    means: Doubles
    whitening: Doubles

    def nearest(self, vectors: Doubles) -> Doubles:
        """Return the squared Mahalanobis distance (b,) of vectors (b, D) to the nearest mean."""
        away = squared_distances(vectors @ self.whitening, self.means @ self.whitening)
        nearest: Doubles = away.min(axis=1)
        return nearest


def class_gaussians(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> Gaussians:
    """Fit Gaussians to vectors (r, D) by label (r,).

    A class of any number of images has a mean. The covariance is pooled: S = sum of the products
    of residuals / (r - C), so that a class of one image, which has no residual, counts in neither
    term. It is shrunk to (1 - l) S + l tr(S) / D I + 1e-6 I with the intensity l of Ledoit and
    Wolf ("A well-conditioned estimator for large-dimensional covariance matrices", 2004); of one
    image alone only the last term is left, and distances are Euclidean.
    """
    rows = vectors.astype(np.float64)
    classes, places = np.unique(labels, return_inverse=True)
    means = np.stack([rows[places == number].mean(axis=0) for number in range(len(classes))])
    residuals = rows - means[places]
    covariance = residuals.T @ residuals / max(1, len(rows) - len(classes))
    intensity, width = _intensity(residuals), len(covariance)
    spread = intensity * np.trace(covariance) / width + FLOOR
    shrunk = (1 - intensity) * covariance + spread * np.eye(width)
    return Gaussians(means, np.linalg.inv(np.linalg.cholesky(shrunk)).T)


def _intensity(residuals: Doubles) -> float:
    from sklearn import covariance  # it takes a second to load

    estimator: Any = covariance
    if len(residuals) < 2:
        return 0.0
    return float(estimator.ledoit_wolf_shrinkage(residuals, assume_centered=True))

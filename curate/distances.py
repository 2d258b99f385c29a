"""Distances between two sets of feature vectors: Frechet, MMD, and the proxy A-distance.

All are computed in float64. A set that is too small or too uniform for a formula is refused by a
`UsageError` that says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.fitted.base import squared_distances
from index.errors import UsageError

Features = NDArray[np.floating]
_FOLDS = 5


def frechet_distance(x: Features, y: Features) -> float:
    """Return the squared Frechet distance of the Gaussians fitted to x (n, D) and y (m, D).

    ||mu_x - mu_y||^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), S the unbiased covariances. The trace
    of the root is the sum of the roots of the eigenvalues of S_x^(1/2) S_y S_x^(1/2), which is
    symmetric, so neither a complex root nor a singular covariance (n <= D) is in the way.
    Source: Dowson and Landau, 1982; as FID by Heusel et al., NeurIPS 2017. It falls with n, so
    compare only sets of as many images. Cost: two eigendecompositions, O(D^3).

    Raises:
        UsageError: a set of fewer than 2 vectors has no covariance.
    """
    x, y = _at_least(2, x, y)
    mean = float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum())
    root = _root(_covariance(x))
    product = root @ _covariance(y) @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    spread = x.var(axis=0, ddof=1).sum() + y.var(axis=0, ddof=1).sum()
    return max(0.0, mean + float(spread - 2 * shared))


def mmd_squared(x: Features, y: Features, bandwidth: float) -> float:
    """Return the unbiased estimate of MMD^2 between x (n, D) and y (m, D).

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j), with
    k(a, b) = exp(-||a - b||^2 / (2 bandwidth^2)). 0 is expected of one distribution, so it may
    fall below. Source: Gretton et al., "A kernel two-sample test", JMLR 2012.
    Cost: (n + m)^2 distances, 8 bytes each.

    Raises:
        UsageError: a set of fewer than 2 vectors.
    """
    x, y = _at_least(2, x, y)

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        kernels: NDArray[np.float64] = np.exp(squared_distances(a, b) / (-2 * bandwidth**2))
        return kernels

    def within(a: NDArray[np.float64]) -> float:
        return float((kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def median_bandwidth(y: Features) -> float:
    """Return the median distance between two vectors of a set (m, D), for a kernel's bandwidth.

    Taken of the reference alone, the kernel is the same whatever is compared with it.

    Raises:
        UsageError: fewer than 2 vectors, or more than half of the pairs are of equal ones.
    """
    (y,) = _at_least(2, y)
    upper = np.triu_indices(len(y), 1)
    median = float(np.sqrt(np.median(squared_distances(y, y)[upper])))
    if median < 1e-6:  # of unit vectors: what rounding leaves between equal ones
        raise UsageError("most of the reference's vectors are the same: there is no bandwidth")
    return median


def label_shift(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Return KL(p || q) in nats of the classes' shares in a set and in a reference, counts (K,).

    p_k = n_k / n as counted; q_k = (r_k + 1/2) / (r + K / 2): half an image more of each class, so
    that one which the reference lacks is rare and not infinitely far (Krichevsky and Trofimov, IEEE
    Transactions on Information Theory 1981).

    Raises:
        UsageError: a set of no image.
    """
    if counts.sum() == 0 or reference.sum() == 0:
        raise UsageError("there are no images whose labels could be compared")
    p = counts / counts.sum()
    q = (reference + 0.5) / (reference.sum() + len(reference) / 2)
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def proxy_a_distance(x: Features, y: Features, seed: int) -> float:
    """Return 2 (1 - 2 err), err of a classifier that tells x (n, D) from y (m, D).

    The classifier is logistic regression on standardised features, err its mean error over both
    sets, each image judged by one of five that did not see it. 0: they look the same (so does
    what is worse than chance), 2: every image is told apart. Of the larger set only as many
    as the smaller one has count, the first. Source: Ben-David et al., "A theory of learning from
    different domains", Machine Learning 2010. Cost: five logistic regressions.

    Raises:
        UsageError: a set of fewer than 5 vectors, one a fold.
    """
    x, y = _at_least(_FOLDS, x, y)
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    size = min(len(x), len(y))
    labels = np.repeat([0, 1], size)
    predicted = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        np.concatenate([x[:size], y[:size]]),
        labels,
        cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=seed),
    )
    error = float(np.mean(predicted != labels))
    return max(0.0, 2 * (1 - 2 * error))


def _at_least(count: int, *sets: Features) -> list[NDArray[np.float64]]:
    if min(map(len, sets)) < count:
        sizes = " and ".join(str(len(one)) for one in sets)
        raise UsageError(f"it takes {count} images, and there are {sizes}")
    return [one.astype(np.float64) for one in sets]


def _covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = x - x.mean(axis=0)
    covariance: NDArray[np.float64] = centred.T @ centred / (len(x) - 1)
    return covariance


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root

"""odsd: confidence, outlyingness in its class, and how wide its class is, by the pool alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.fitted.base import Doubles, Fitted, Floats, Sample, blocks
from index.faissing import kmeans_centres

PROTOTYPES = 5
_ROWS_AT_ONCE = 256
_SEED = 0
_ROUNDING = 1e-6  # of unit vectors in float32


def fit_odsd(sample: Sample) -> Fitted:
    """Return conf - out + den, all three at most 1 on the sample that they are fitted to.

    conf = q / max q, q the largest softmax probability. out = (1 - max_m cos(x, mu_m)) / max,
    mu_m up to 5 prototypes of the predicted class: centres of spherical k-means over the sample's
    images of it, or those images themselves where there are no more. den = the mean of out over
    the predicted class / max over the classes. An image of a class that the sample does not show
    has nothing to be like: out = 1, den = 0.

    A reconstruction of the criterion of ODSD (arXiv 2307.16601), which has no public code.
    """
    classes = sample.logits.shape[1]
    labels = sample.logits.argmax(axis=1)
    prototypes = {
        label: _prototypes(sample.vectors[labels == label]) for label in np.unique(labels).tolist()
    }
    owners = np.concatenate([np.full(len(rows), label) for label, rows in prototypes.items()])
    centres = np.concatenate(list(prototypes.values()))
    away = _distances(sample.vectors, labels, centres, owners)
    furthest = max(away.max(), np.finfo(np.float64).tiny)
    density = np.zeros(classes)
    for label in prototypes:
        density[label] = (away[labels == label] / furthest).mean()
    density /= max(density.max(), np.finfo(np.float64).tiny)
    surest = _confidence(sample.logits).max()

    def score(vectors: Floats, logits: Floats) -> Floats:
        predicted = logits.argmax(axis=1)
        outlying = _distances(vectors, predicted, centres, owners) / furthest
        outlying[~np.isin(predicted, owners)] = 1
        total = _confidence(logits) / surest - outlying + density[predicted]
        found: Floats = total.astype(np.float32)
        return found

    return score


def _prototypes(vectors: Floats) -> Doubles:
    """Unit-norm rows (at most 5, D): centres of vectors (n, D), in the order of the sample."""
    if len(vectors) <= PROTOTYPES:
        return vectors.astype(np.float64)
    found = kmeans_centres(vectors, PROTOTYPES, _spread(vectors), seed=_SEED, spherical=True)
    centres = found.astype(np.float64)
    unit: Doubles = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return unit


def _spread(vectors: Floats) -> Floats:
    """Draw 5 of vectors (n, D) far from each other, by k-means++ (Arthur and Vassilvitskii, 2007).

    From 5 drawn evenly k-means often ends with two prototypes in one group and one between two.
    """
    rng = np.random.default_rng(_SEED)
    chosen = [int(rng.integers(len(vectors)))]
    away = np.full(len(vectors), np.inf)
    while len(chosen) < PROTOTYPES:
        latest = vectors.astype(np.float64) - vectors[chosen[-1]]
        away = np.minimum(away, np.square(latest).sum(axis=1))
        total = away.sum()
        chosen.append(int(rng.choice(len(vectors), p=away / total if total > 0 else None)))
    return np.ascontiguousarray(vectors[chosen])


def _distances(
    vectors: Floats, labels: NDArray[np.intp], centres: Doubles, owners: NDArray[np.int64]
) -> Doubles:
    """1 - the largest cosine of vectors (n, D) with a prototype of their class: (n,), inf without.

    0 where it is no more than what rounding leaves of an image that is its own prototype.
    """
    found = np.empty(len(vectors))
    for block in blocks(len(vectors), _ROWS_AT_ONCE):
        cosines = vectors[block].astype(np.float64) @ centres.T
        cosines[labels[block, None] != owners] = -np.inf
        found[block] = 1 - cosines.max(axis=1)
    return np.where(found < _ROUNDING, 0.0, found)


def _confidence(logits: Floats) -> Doubles:
    """Largest softmax probability of logits (n, K): (n,)."""
    most = logits.max(axis=1, keepdims=True).astype(np.float64)
    found: Doubles = 1 / np.exp(logits - most).sum(axis=1)
    return found

"""mmd_witness: where the reference is denser than the pool."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Doubles, Fitted, Floats, Sample, in_blocks, squared_distances
from curate.references import Reference

MOST_ROWS = 5_000
_PAIRED = 500
_ROWS_AT_ONCE = 256


def fit_mmd_witness(reference: Reference, sample: Sample) -> Fitted:
    """Return mean_r k(x, r) - mean_u k(x, u), k(x, y) = exp(-|x - y|^2 / (2 s^2)).

    r and u are up to 5,000 images of the reference and of the pool. s is the median distance of
    pairs among 500 of each; 1 where that is 0.
    """
    theirs = reference.vectors[:MOST_ROWS].astype(np.float64)
    ours = sample.vectors[:MOST_ROWS].astype(np.float64)
    width = bandwidth(np.concatenate([theirs[:_PAIRED], ours[:_PAIRED]]))

    def witness(vectors: Doubles) -> Doubles:
        near, far = (
            np.exp(squared_distances(vectors, rows) / (-2 * width**2)).mean(axis=1)
            for rows in (theirs, ours)
        )
        found: Doubles = near - far
        return found

    def estimate(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        return in_blocks(vectors, witness, _ROWS_AT_ONCE)

    return estimate


def bandwidth(vectors: Doubles) -> float:
    """Return the median distance of pairs of vectors (n, D), or 1 where there is none above 0."""
    pairs = squared_distances(vectors, vectors)[np.triu_indices(len(vectors), 1)]
    median = float(np.sqrt(np.median(pairs))) if len(pairs) else 0.0
    return median or 1.0

"""Candidates made of random vectors, and the formulas in float64, an image at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.diversity.base import Candidates, whole
from index.vectors import unit_norm


def candidates_of(vectors: NDArray[np.floating], seed: int = 0) -> Candidates:
    """Candidates with ascending ids and places in any order."""
    rng = np.random.default_rng(seed)
    count = len(vectors)
    ids = np.sort(rng.choice(2**62, count, replace=False))
    places = rng.permutation(3 * count)[:count] + 1
    return Candidates(ids, places, whole(unit_norm(vectors.astype(np.float32))))


def random_candidates(count: int, dim: int, seed: int) -> Candidates:
    """Clumps with equal vectors among them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, count // 6), dim))
    vectors = centres[rng.integers(len(centres), size=count)]
    vectors += rng.normal(scale=0.5, size=vectors.shape) * (rng.random((count, 1)) < 0.7)
    return candidates_of(vectors, seed)


def products(candidates: Candidates) -> NDArray[np.float64]:
    """All products of vectors, (n, n); whole numbers."""
    vectors = candidates.vectors.astype(np.float64)
    return vectors @ vectors.T


ONE = 4000.0**2

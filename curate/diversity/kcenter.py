"""Greedy k-centre: whatever is picked next is the farthest from all that is picked."""

from __future__ import annotations

import numpy as np

from curate.diversity.base import ONE, Candidates, Method, Picks


def kcenter(candidates: Candidates, count: int, seed: int) -> Picks:  # noqa: ARG001
    """Pick `count` candidates: the best score first, then always the farthest from those picked.

    The farthest is the one whose largest cosine to a picked image is least; of equally far ones
    the smaller image id. No picked set has a largest distance to its nearest pick below half of
    this one's (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985).

    Choose it to cover the edges of a class; it likes outliers, so filter before.
    Costs count x n products of vectors.
    """
    taken = np.empty(count, np.int64)
    added = np.empty(count, np.float64)
    largest = np.full(len(candidates), -np.inf, np.float32)  # product with any of those picked
    chosen = int(candidates.places.argmin())
    for step in range(count):
        taken[step], added[step] = chosen, float(largest[chosen]) / ONE
        np.maximum(largest, candidates.vectors @ candidates.vectors[chosen], out=largest)
        largest[chosen] = np.inf
        chosen = int(largest.argmin())
    return Picks(taken, added)


KCENTER = Method(
    kcenter,
    "CASE WHEN pick = 1 THEN printf('selected: best score, pick 1 of %d', picks) "
    "ELSE printf('selected: %.3f to the nearest picked before, pick %d of %d', "
    "added, pick, picks) END",
)

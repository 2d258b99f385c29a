"""knn: the distance to the reference's neighbours."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Doubles, Fitted, Floats, Sample, blocks
from curate.references import Reference
from index.faissing import faiss_module

NEIGHBOURS = 50
# FAISS computes in float32: it proposes some more, whose distances are then computed in float64.
_SPARE = 14
_NUMBERS_AT_ONCE = 1 << 22


def fit_knn(reference: Reference, sample: Sample) -> Fitted:  # noqa: ARG001
    """Return the Euclidean distance to the k-th nearest vector of the reference, k = 50.

    Of a smaller reference, to its furthest.
    """
    index = faiss_module().IndexFlatIP(reference.vectors.shape[1])
    index.add(reference.vectors)
    k = min(NEIGHBOURS, len(reference.ids))
    proposed = min(k + _SPARE, len(reference.ids))
    rows = max(1, _NUMBERS_AT_ONCE // (proposed * reference.vectors.shape[1]))

    def distance(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        _, near = index.search(vectors, proposed)
        found = np.empty(len(vectors), np.float32)
        for block in blocks(len(vectors), rows):
            theirs = reference.vectors[near[block]].astype(np.float64)
            away: Doubles = ((theirs - vectors[block, None].astype(np.float64)) ** 2).sum(axis=2)
            found[block] = np.sqrt(np.partition(away, k - 1, axis=1)[:, k - 1])
        return found

    return distance

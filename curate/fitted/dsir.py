"""dsir: how much likelier an image's kind is in the reference than in the pool."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.fitted.base import Doubles, Fitted, Floats, Sample, in_blocks, squared_distances
from curate.references import Reference
from index.faissing import kmeans_centres

MOST_CODES = 256
# Fewer for each, and FAISS warns that a centre is not trained well.
_IMAGES_A_CODE = 39
_SEED, _ROUNDS = 0, 20


def fit_dsir(reference: Reference, sample: Sample) -> Fitted:
    """Return log p_R(c) - log p_U(c) of the code c, the nearest centre of k-means.

    The centres, 256 or one for 39 images, are of reference and sample together (faiss.Kmeans,
    seeded); p counts the code among r or m images and is smoothed: (count + 1) / (r + codes).
    """
    both = np.concatenate([reference.vectors, sample.vectors])
    codes = max(1, min(MOST_CODES, len(both) // _IMAGES_A_CODE))
    centres = kmeans_centres(both, codes, seed=_SEED, niter=_ROUNDS).astype(np.float64)

    def code_of(vectors: Doubles) -> NDArray[np.int64]:
        nearest: NDArray[np.int64] = squared_distances(vectors, centres).argmin(axis=1)
        return nearest

    theirs, ours = (
        np.log(np.bincount(code_of(rows.astype(np.float64)), minlength=codes) + 1)
        - np.log(len(rows) + codes)
        for rows in (reference.vectors, sample.vectors)
    )
    ratio: Doubles = theirs - ours

    def estimate(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        return in_blocks(vectors, lambda block: ratio[code_of(block)])

    return estimate

"""retrieve: how like a seed image an image is."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Doubles, Fitted, Floats, Sample, in_blocks
from curate.references import Reference


def fit_retrieve(reference: Reference, sample: Sample) -> Fitted:  # noqa: ARG001
    """Return the cosine to the nearest image of the reference, whose images are the seeds."""
    seeds = reference.vectors.astype(np.float64)

    def nearest(vectors: Doubles) -> Doubles:
        cosines: Doubles = (vectors @ seeds.T).max(axis=1)
        return cosines

    def cosine(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        return in_blocks(vectors, nearest)

    return cosine

"""mahalanobis: the distance to the nearest class of the reference, in its own spread."""

from __future__ import annotations

from curate.fitted.base import Fitted, Floats, Sample, in_blocks
from curate.fitted.gaussians import class_gaussians
from curate.references import Reference


def fit_mahalanobis(reference: Reference, sample: Sample) -> Fitted:  # noqa: ARG001
    """Return min_c (x - m_c)' S^-1 (x - m_c), the classes c being the teacher's pseudo-labels."""
    gaussians = class_gaussians(reference.vectors, reference.labels)

    def distance(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        return in_blocks(vectors, gaussians.nearest)

    return distance

"""rmds: the distance to the nearest class, less that to the reference as a whole."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Fitted, Floats, Sample, in_blocks
from curate.fitted.gaussians import class_gaussians
from curate.references import Reference
from index.errors import UsageError


def fit_rmds(reference: Reference, sample: Sample) -> Fitted:  # noqa: ARG001
    """Return min_c (x - m_c)' S^-1 (x - m_c) - (x - m_0)' S_0^-1 (x - m_0).

    m_0 and S_0 are of all images of the reference together.

    Raises:
        UsageError: the reference has images of one class only, whose Gaussian is the whole's.
    """
    labels = reference.labels
    if len(np.unique(labels)) < 2:
        raise UsageError(
            "rmds compares the classes of the reference with the whole, and the teacher sees one "
            "class in it: give --reference images of more classes, or choose mahalanobis"
        )
    classes = class_gaussians(reference.vectors, labels)
    whole = class_gaussians(reference.vectors, np.zeros_like(labels))

    def distance(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        return in_blocks(vectors, lambda block: classes.nearest(block) - whole.nearest(block))

    return distance

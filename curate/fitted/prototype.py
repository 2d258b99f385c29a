"""prototype: how like the reference's images of its class an image is."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Doubles, Fitted, Floats, Sample
from curate.references import Reference

# Of a class that the reference does not show: further than anything it shows can be.
UNKNOWN = -1.0


def fit_prototype(reference: Reference, sample: Sample) -> Fitted:  # noqa: ARG001
    """Return the cosine to the mean vector of the reference's images of the predicted class.

    Of a class that the teacher predicts for none of them it is -1.
    """
    labels, (classes, width) = (
        reference.labels,
        (reference.logits.shape[1], reference.vectors.shape[1]),
    )
    means: Doubles = np.zeros((classes, width))
    np.add.at(means, labels, reference.vectors.astype(np.float64))
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    means /= np.where(norms > 0, norms, 1)
    known = np.isin(np.arange(classes), labels)

    def cosine(vectors: Floats, logits: Floats) -> Floats:
        predicted = logits.argmax(axis=1)
        cosines = (vectors.astype(np.float64) * means[predicted]).sum(axis=1)
        found: Floats = np.where(known[predicted], cosines, UNKNOWN).astype(np.float32)
        return found

    return cosine

"""domain: how much likelier an image is in the reference than in the pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.fitted.base import Doubles, Fitted, Floats, Sample, in_blocks
from curate.references import Reference

MOST_ROWS = 10_000
_LARGEST_LOG = 30.0  # or the exponential of a classifier that is sure would be no float32


def fit_domain(reference: Reference, sample: Sample) -> Fitted:
    """Return the density ratio D / (1 - D) n_u / n_r of a logistic regression D(x).

    It tells the n_r images of the reference from n_u of the pool, at most 10,000 (scikit-learn, on
    standardised vectors, L2 penalty with C = 1).
    """
    from sklearn import linear_model  # it takes a second to load

    ours = sample.vectors[:MOST_ROWS]
    rows = np.concatenate([reference.vectors, ours]).astype(np.float64)
    is_theirs = np.arange(len(rows)) < len(reference.ids)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.where(deviation > np.finfo(np.float32).eps, deviation, 1.0)
    regression: Any = linear_model.LogisticRegression(
        C=1.0, solver="newton-cholesky", tol=1e-6, max_iter=1000
    )
    regression.fit((rows - mean) / deviation, is_theirs)
    slope: Doubles = regression.coef_[0] / deviation
    offset = float(regression.intercept_[0] - mean @ slope)
    offset += np.log(len(ours) / len(reference.ids))

    def ratio(vectors: Doubles) -> Doubles:
        found: Doubles = np.exp(np.clip(vectors @ slope + offset, -_LARGEST_LOG, _LARGEST_LOG))
        return found

    def estimate(vectors: Floats, logits: Floats) -> Floats:  # noqa: ARG001
        return in_blocks(vectors, ratio)

    return estimate

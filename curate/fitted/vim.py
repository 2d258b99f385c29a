"""vim: what the reference's main directions do not explain, against the energy of the logits."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Doubles, Fitted, Floats, Sample, in_blocks
from curate.references import Reference
from index.errors import UsageError


def fit_vim(reference: Reference, sample: Sample) -> Fitted:  # noqa: ARG001
    """Return a |P (x - m)| - log sum_k exp z_k: P projects out the reference's main directions.

    m is its mean, a its mean max logit over its mean |P (x - m)|. The main directions are, as in
    the paper, 1,000 of 2,048 and more, 512 of 768 and more, else half of D; and at most half as
    many as there are images, or they would explain the reference whole.

    Raises:
        UsageError: all images of the reference have the same vector.
    """
    rows = reference.vectors.astype(np.float64)
    mean = rows.mean(axis=0)
    _, directions = np.linalg.eigh((rows - mean).T @ (rows - mean))
    main = min(_main_directions(rows.shape[1]), (len(rows) - 1) // 2)
    rest: Doubles = directions[:, : rows.shape[1] - main]  # eigenvalues ascend

    def residual(vectors: Doubles) -> Doubles:
        norms: Doubles = np.linalg.norm((vectors - mean) @ rest, axis=1)
        return norms

    typical = residual(rows).mean()
    if typical < np.finfo(np.float32).eps:
        raise UsageError(
            "vim needs a reference that varies, and all its images have the same vector: give "
            "--reference more images"
        )
    scale = reference.logits.max(axis=1).astype(np.float64).mean() / typical

    def distance(vectors: Floats, logits: Floats) -> Floats:
        energy = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
        virtual = in_blocks(vectors, residual).astype(np.float64) * scale
        found: Floats = (virtual - energy).astype(np.float32)
        return found

    return distance


def _main_directions(width: int) -> int:
    return 1000 if width >= 2048 else 512 if width >= 768 else width // 2

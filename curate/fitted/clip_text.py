"""clip_text: how like the name of its predicted class an image looks to CLIP."""

from __future__ import annotations

import numpy as np

from curate.fitted.base import Fitted, Floats, Sample
from index.errors import UsageError


def fit_clip_text(sample: Sample) -> Fitted:
    """Return the cosine to the text "a photo of a CLASS" of the teacher's predicted class.

    Raises:
        UsageError: there are no such texts; see `curate.prompts`.
    """
    if sample.prompts is None:
        raise UsageError("clip_text needs the vectors of the classes' names: give the sample some")
    texts = sample.prompts().astype(np.float64)

    def cosine(vectors: Floats, logits: Floats) -> Floats:
        found: Floats = np.einsum(
            "nd,nd->n", vectors.astype(np.float64), texts[logits.argmax(axis=1)]
        ).astype(np.float32)
        return found

    return cosine

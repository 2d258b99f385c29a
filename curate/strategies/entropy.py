"""entropy: how undecided the teacher is."""

from __future__ import annotations

import numpy as np

from curate.strategies.base import Batch, Scored, Unthresholded, softmax, top_label


class Entropy(Unthresholded):
    """Score sum_k p_k log p_k: the teacher's negative entropy in nats, so sure images come first.

    Source: Shannon, "A mathematical theory of communication", 1948; as a measure of uncertainty
    the standard of active learning. Cost: the teacher's logits only.
    Choose this when: you compare with msp; `--reverse` takes the images of highest entropy, a
    negative control that should lose to random.
    """

    name = "entropy"

    def score(self, batch: Batch) -> Scored:
        """Sum p log p, with 0 log 0 = 0."""
        p = softmax(batch.teacher)
        terms = p * np.log(np.maximum(p, np.finfo(np.float32).tiny))
        return Scored(terms.sum(axis=1), top_label(batch.teacher))

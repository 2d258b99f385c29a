"""margin: how far the teacher's best class is ahead of its second."""

from __future__ import annotations

import numpy as np

from curate.strategies.base import Batch, Scored, Unthresholded, softmax, top_label


class Margin(Unthresholded):
    """Score p_(1) - p_(2) with p = softmax(z_t) in descending order; p_(1) with one class only.

    Source: Scheffer, Decomain and Wrobel, "Active hidden Markov models for information extraction",
    IDA 2001. Cost: the teacher's logits only. Choose this when: images between two classes are what
    you want to leave out; `--reverse` takes them first.
    """

    name = "margin"
    logits = "top32"

    def score(self, batch: Batch) -> Scored:
        """Take the two largest probabilities."""
        p = softmax(batch.teacher)
        second = np.partition(p, -2, axis=1)[:, -2] if p.shape[1] > 1 else np.float32(0)
        return Scored(p.max(axis=1) - second, top_label(batch.teacher))

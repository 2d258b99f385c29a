"""gen: the teacher's generalised entropy, which hears the small probabilities too."""

from __future__ import annotations

import numpy as np

from curate.strategies.base import Batch, Scored, Unthresholded, log_sum_exp, top_label

_GAMMA = 0.1
_MOST_CLASSES = 100


class Gen(Unthresholded):
    """Score -sum_{k of the M largest} p_k^g (1 - p_k)^g with g = 0.1 and M = 100, or all classes.

    Source: Liu, Lochman and Zach, "GEN: Pushing the limits of softmax-based out-of-distribution
    detection", CVPR 2023, with its g and its M for a thousand classes. Cost: the teacher's logits
    only. Choose this when: nearly all images get a confidence near 1, which msp and entropy can
    hardly tell apart.
    """

    name = "gen"

    def score(self, batch: Batch) -> Scored:
        """Sum over the largest probabilities."""
        label = batch.teacher.argmax(axis=1)[:, None]
        logits = batch.teacher - np.take_along_axis(batch.teacher, label, axis=1)
        others = logits.copy()
        np.put_along_axis(others, label, -np.inf, axis=1)
        whole = log_sum_exp(logits)
        log_p = logits - whole[:, None]
        # 1 - p of a sure image would be rounding, and its g-th power not small: take the others'.
        log_rest = np.log1p(-np.minimum(np.exp(log_p), np.float32(0.5)))
        np.put_along_axis(log_rest, label, (log_sum_exp(others) - whole)[:, None], axis=1)
        terms = np.exp(np.float32(_GAMMA) * (log_p + log_rest))
        if logits.shape[1] > _MOST_CLASSES:
            most = np.argpartition(logits, -_MOST_CLASSES, axis=1)[:, -_MOST_CLASSES:]
            terms = np.take_along_axis(terms, most, axis=1)
        return Scored(-terms.sum(axis=1), top_label(batch.teacher))

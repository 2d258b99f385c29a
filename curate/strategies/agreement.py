"""agreement: how much teacher and student say the same."""

from __future__ import annotations

import numpy as np

from curate.strategies.base import (
    Batch,
    Floats,
    Scored,
    Unthresholded,
    softmax,
    top_label,
)


class Agreement(Unthresholded):
    """Score 1 - JS(p_t, p_s) / ln 2: 1 where both say the same, 0 where they share no class.

    JS is the Jensen-Shannon divergence in nats, which never exceeds ln 2.
    Source: ours; of JS, Lin, IEEE Transactions on Information Theory 1991.
    Cost: one pass of the teacher and one of the student.
    Choose this when: the student is half trained and shall not be led astray by images on which one
    of the two must be wrong; it sees them as learnt already, so do not use it to find new ones.
    """

    name = "agreement"
    needs_student = True

    def score(self, batch: Batch) -> Scored:
        """Compare the two softmaxes."""
        assert batch.student is not None
        agreed = agreement(softmax(batch.teacher), softmax(batch.student))
        return Scored(agreed, top_label(batch.teacher))


def agreement(teacher: Floats, student: Floats) -> Floats:
    """Return 1 - JS(p_t, p_s) / ln 2 per image, (n,), of probabilities (n, K)."""
    middle: Floats = (teacher + student) / np.float32(2)
    divergence = (_kl(teacher, middle) + _kl(student, middle)) / 2
    agreed: Floats = (1.0 - divergence / np.log(2.0)).astype(np.float32)
    return np.clip(agreed, 0, 1)


def _kl(p: Floats, q: Floats) -> Floats:
    tiny = np.finfo(np.float32).tiny
    total: Floats = (p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))).sum(axis=1)
    return total

"""disagreement: what the teacher is sure of and the student has still to learn."""

from __future__ import annotations

import numpy as np

from curate.strategies.agreement import agreement
from curate.strategies.base import Batch, Scored, Unthresholded, softmax, top_label

_SURE = 0.5


class Disagreement(Unthresholded):
    """Score JS(p_t, p_s) / ln 2 where max p_t > 1/2, else max p_t - 1, which ranks below all those.

    JS as in agreement. A teacher above one half holds its class for likelier than all others
    together; where it does not, a disagreement says nothing about the student.
    Source: ours. Cost: one pass of the teacher and one of the student.
    Choose this when: a student is trained already and the budget shall go to what it gets wrong;
    from scratch it lacks the easy images.
    """

    name = "disagreement"
    needs_student = True

    def score(self, batch: Batch) -> Scored:
        """Compare the two softmaxes where the teacher is sure."""
        assert batch.student is not None
        teacher = softmax(batch.teacher)
        confidence = teacher.max(axis=1)
        differs = 1 - agreement(teacher, softmax(batch.student))
        score = np.where(confidence > _SURE, differs, confidence - 1)
        return Scored(score, top_label(batch.teacher))

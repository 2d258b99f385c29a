"""max_logit: the teacher's largest logit."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class MaxLogit(Unthresholded):
    """Score max_k z_k, before any softmax.

    Source: Hendrycks et al., "Scaling out-of-distribution detection for real-world settings", ICML
    2022. Cost: the teacher's logits only. Choose this when: there are many classes alike, among
    which a sure image, too, divides its probability; msp then takes it for an unsure one.
    """

    name = "max_logit"
    logits = "top32"

    def score(self, batch: Batch) -> Scored:
        """Take the largest logit."""
        return Scored(batch.teacher.max(axis=1), top_label(batch.teacher))

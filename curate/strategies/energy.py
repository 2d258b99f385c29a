"""energy: how much evidence for any class at all the teacher sees."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, log_sum_exp, top_label


class Energy(Unthresholded):
    """Score T log sum_k exp(z_k / T), the negative free energy, at T = 1.

    Source: Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020, whose T is 1
    too. Cost: the teacher's logits only. Choose this when: the crawl is full of images of no class;
    unlike msp it grows with the size of the logits, not only with their differences.
    """

    name = "energy"
    logits = "top32"

    def score(self, batch: Batch) -> Scored:
        """Sum the exponentials."""
        return Scored(log_sum_exp(batch.teacher), top_label(batch.teacher))

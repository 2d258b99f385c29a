"""null_space: least of what the teacher's classifier cannot see."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class NullSpace(Unthresholded):
    """Score -||(I - Q Q^T) h|| / ||h||, Q an orthonormal basis of the classifier's row space.

    h is the penultimate vector: what of it lies outside the row space reaches no logit.
    Source: Cook, Zare and Gader, "Outlier detection through null space analysis of neural
    networks", 2020. Cost: one small projection in the scoring pass.
    Choose this when: the teacher has no BatchNorm, or its logits are sure of everything. Refused
    where the teacher has as many classes as penultimate features: nothing is outside then.
    """

    name = "null_space"
    logits = "none"
    needs: tuple[str, ...] = ("null_space",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["null_space"], batch.label)

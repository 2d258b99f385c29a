"""mmd_witness: where a reference set is denser than the pool."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class MmdWitness(Unthresholded):
    """Score mmd_witness: mean_r k(x, r) - mean_u k(x, u) with k(x, y) = exp(-|x - y|^2 / (2 s^2)).

    r are images of the reference, u of the pool, up to 5,000 each; s is the median distance.
    Source: Gretton et al., "A kernel two-sample test", JMLR 2012. Cost: 10,000 D products an image.
    Choose this when: the selection as a whole shall be distributed as the reference is, and a
    classifier (domain) would tell the two apart too easily.
    """

    name = "mmd_witness"
    needs: tuple[str, ...] = ("mmd_witness",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, larger being better."""
        return Scored(batch.signals["mmd_witness"], top_label(batch.teacher))

"""vim: explained by a reference set's main directions, with much evidence for a class."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class Vim(Unthresholded):
    """Score -vim: log sum_k exp z_k minus a |P (x - m)|, the norm of what is left of the unit-norm
    vector x outside the main directions of the reference, with mean m.

    a is the reference's mean max logit over its mean |P (x - m)|.
    Source: Wang et al., "ViM: out-of-distribution with virtual-logit matching", CVPR 2022; here m
    is the reference's mean, for the vectors need not be the teacher's. Cost: D^2 products an image.
    Choose this when: neither logits nor vectors alone tell what is foreign.
    """

    name = "vim"
    needs: tuple[str, ...] = ("vim",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["vim"], top_label(batch.teacher))

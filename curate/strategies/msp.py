"""msp: the teacher's maximum softmax probability."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class Msp(Unthresholded):
    """Score max_k p_k with p = softmax(z_t).

    Source: Hendrycks and Gimpel, ICLR 2017; as a selector of web images, DFND (CVPR 2021).
    Cost: the teacher's logits only. Choose this when: there is no student yet and the teacher's
    confidence can be trusted; add `--balance full`, for confidence favours easy classes.
    """

    name = "msp"
    logits = "none"

    def score(self, batch: Batch) -> Scored:
        """Take the largest probability."""
        return Scored(batch.confidence, batch.label)

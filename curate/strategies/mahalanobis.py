"""mahalanobis: nearest to a class of a reference set."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class Mahalanobis(Unthresholded):
    """Score -mahalanobis: minus the least of (x - m_c)' S^-1 (x - m_c) over the classes c.

    x is the unit-norm vector, m_c the mean of the reference's images with the pseudo-label c, S the
    covariance that the classes share, shrunk by Ledoit and Wolf's intensity. A class of a single
    image has a mean, and says nothing of S.
    Source: Lee et al., "A simple unified framework for detecting out-of-distribution samples and
    adversarial attacks", NeurIPS 2018. Cost: D (D + K) products an image.
    Choose this when: the reference is small or its directions are of unlike spread; less so where
    pool and reference differ in style only, for which rmds is meant.
    """

    name = "mahalanobis"
    needs: tuple[str, ...] = ("mahalanobis",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["mahalanobis"], top_label(batch.teacher))

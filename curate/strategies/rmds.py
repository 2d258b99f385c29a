"""rmds: nearest to a class, beyond what all images share."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class Rmds(Unthresholded):
    """Score -rmds: minus the least of (x - m_c)' S^-1 (x - m_c) over the classes c, plus
    (x - m_0)' S_0^-1 (x - m_0), where m_0, S_0 are of the whole reference.

    Source: Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD detection",
    2021. Cost: twice that of mahalanobis; the reference needs two classes or more.
    Choose this when: what is foreign differs from the classes in little, and the directions in
    which all images vary drown that in mahalanobis.
    """

    name = "rmds"
    needs: tuple[str, ...] = ("rmds",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["rmds"], top_label(batch.teacher))

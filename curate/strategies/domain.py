"""domain: likelier in a reference set than in the pool, for a classifier."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class Domain(Unthresholded):
    """Score domain: the density ratio w = D / (1 - D) n_u / n_r, D the probability that a logistic
    regression on the vectors gives the reference, n_r and n_u its images of each side.

    Source: Bickel et al., "Discriminative learning under covariate shift", JMLR 2009. Cost: one
    regression, then D products an image.
    Choose this when: style or source tells the pool from the original data. The same w, clipped, is
    the weight of the loss with `--weights domain`, whatever the strategy.
    """

    name = "domain"
    needs: tuple[str, ...] = ("domain",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, larger being better."""
        return Scored(batch.signals["domain"], top_label(batch.teacher))

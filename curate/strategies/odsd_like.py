"""odsd_like: sure, like its class, and of a class that varies."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class OdsdLike(Unthresholded):
    """Score conf - out + den, each over its largest value in a sample of the pool.

    conf is the teacher's confidence, out = 1 - the largest cosine of the image's vector with the 5
    prototypes (k-means centres) of its predicted class, den the mean of out over that class.
    Source: ODSD, arXiv 2307.16601; a reconstruction, labelled so: it has no public code.
    Cost: 5 K products an image, and one k-means a class over 20,000 images at most.
    Choose this when: there is no reference, and outliers are to go without losing the classes that
    vary. den favours these: look at the class balance.
    """

    name = "odsd_like"
    logits = "top32"
    needs: tuple[str, ...] = ("odsd",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate."""
        return Scored(batch.signals["odsd"], batch.label)

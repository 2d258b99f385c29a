"""retrieve: neighbours of seed images."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class Retrieve(Unthresholded):
    """Score retrieve: the cosine of the vector to the nearest image of the reference.

    Source: the field's standard, nearest neighbours by cosine.
    Cost: r D products an image, r the images of the reference.
    Choose this when: a few images show what is wanted; give them as `--reference`. With many, knn
    is less at the mercy of single ones.
    """

    name = "retrieve"
    logits = "top32"
    needs: tuple[str, ...] = ("retrieve",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, larger being better."""
        return Scored(batch.signals["retrieve"], batch.label)

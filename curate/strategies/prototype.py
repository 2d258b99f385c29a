"""prototype: likest to the reference's images of its class."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class Prototype(Unthresholded):
    """Score prototype: the cosine of the vector to the mean vector of the reference's images with
    the same pseudo-label; -1 where there are none of that class.

    Source: nearest class mean, as Snell et al., "Prototypical networks for few-shot learning",
    NeurIPS 2017. Cost: D products an image.
    Choose this when: an image shall look like the class that the teacher sees in it, which knn and
    retrieve do not ask.
    """

    name = "prototype"
    needs: tuple[str, ...] = ("prototype",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, larger being better."""
        return Scored(batch.signals["prototype"], top_label(batch.teacher))

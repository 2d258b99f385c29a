"""knn: nearest to the images of a reference set."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class Knn(Unthresholded):
    """Score -knn: minus the Euclidean distance of the image's unit-norm vector to the 50th nearest
    of the reference (to the furthest, where it has fewer).

    Source: Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022,
    who take 50 on CIFAR. Cost: r D products an image, r the images of the reference.
    Choose this when: there is a reference, and no shape of its classes is to be assumed.
    """

    name = "knn"
    logits = "top32"
    needs: tuple[str, ...] = ("knn",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["knn"], batch.label)

"""bn_shift: nearest to the teacher's BatchNorm statistics."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class BnShift(Unthresholded):
    """Score -bn_shift: the mean over BatchNorm layers, z-scored over the pool, of
    mean_c |mu_c - mu^_c| / sigma^_c + |log(sigma_c / sigma^_c)|.

    mu, sigma are the image's moments over the pixels of the layer's input, mu^, sigma^ the layer's
    running ones: statistics of the original data that stayed in the teacher.
    Source: ours, an estimate for each image after the BatchNorm prior of DeepInversion (Yin et
    al., "Dreaming to distill", CVPR 2020), which compares whole batches.
    Cost: moments of the maps in the scoring pass, and a BatchNorm network.
    Choose this when: confidence cannot be trusted and the crawl differs from the original data in
    style, not in classes; it knows nothing of classes, so combine it with one that does (`--rank`).
    """

    name = "bn_shift"
    logits = "none"
    needs: tuple[str, ...] = ("bn_shift",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["bn_shift"], batch.label)

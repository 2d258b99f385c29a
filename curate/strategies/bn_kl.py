"""bn_kl: nearest to the teacher's BatchNorm statistics, by divergence."""

from __future__ import annotations

from curate.strategies.base import Batch, Scored, Unthresholded


class BnKl(Unthresholded):
    """Score -bn_kl: the mean over BatchNorm layers, z-scored over the pool, of
    mean_c KL(N(mu_c, sigma_c^2) || N(mu^_c, sigma^_c^2)), of the same moments as bn_shift.

    Source: ours, after the BatchNorm prior of DeepInversion (Yin et al., CVPR 2020), as bn_shift.
    Cost: that of bn_shift, which it shares.
    Choose this when: a few channels that are far off shall count for more than many that are a
    little off, since distances count squared here.
    """

    name = "bn_kl"
    logits = "none"
    needs: tuple[str, ...] = ("bn_kl",)

    def score(self, batch: Batch) -> Scored:
        """Take the stored estimate, smaller being better."""
        return Scored(-batch.signals["bn_kl"], batch.label)

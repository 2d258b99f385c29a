"""Strategies of somebody else, as an installable package."""

from __future__ import annotations

import numpy as np

from curate.strategies.base import Batch, Scored, Unthresholded, top_label


class ShorterSide(Unthresholded):
    """Score min(width, height) + msp. Cost: none. Choose this when: this is tested."""

    name = "shorter_side"
    needs = ("width", "height")

    def score(self, batch: Batch) -> Scored:
        """Take the shorter side, and confidence and label of the teacher."""
        side = np.minimum(batch.signals["width"], batch.signals["height"])
        return Scored(side + batch.confidence, top_label(batch.teacher), {"side": side})


class Unrankable(Unthresholded):
    """Score NaN. Cost: none. Choose this when: this is tested."""

    name = "unrankable"

    def score(self, batch: Batch) -> Scored:
        """Give the last image no score."""
        scores = np.zeros(len(batch.ids), np.float32)
        scores[-1] = np.nan
        return Scored(scores, top_label(batch.teacher))

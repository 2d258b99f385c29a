"""dsir: drawn as a reference set is distributed."""

from __future__ import annotations

import numpy as np

from curate.strategies.base import Batch, Scored, Settings, Unthresholded
from curate.strategies.random import random_bits


class Dsir(Unthresholded):
    """Score dsir + g: log p_R(c) - log p_U(c) of the image's code c, plus Gumbel noise from its id.

    The best n of these are a draw of n without replacement, with probabilities by the ratio p_R /
    p_U. Codes are the nearest of 256 k-means centres; p are their smoothed shares in reference and
    pool. Source: Xie et al., "Data selection for language models via importance resampling",
    NeurIPS 2023, whose features are n-grams. Cost: 256 D products an image.
    Choose this when: the selection shall have the reference's mixture of kinds, the rare ones too,
    in place of the most typical images only.
    """

    name = "dsir"
    seeded = True
    logits = "top32"
    needs: tuple[str, ...] = ("dsir",)

    def __init__(self, settings: Settings) -> None:
        """Take the seed."""
        self._seed = settings.seed

    def score(self, batch: Batch) -> Scored:
        """Add the noise, which depends on id and seed alone."""
        uniform = ((random_bits(batch.ids, self._seed) >> np.uint64(11)) + 0.5) / 2**53
        noise = -np.log(-np.log(uniform))
        score = (batch.signals["dsir"] + noise).astype(np.float32)
        return Scored(score, batch.label)

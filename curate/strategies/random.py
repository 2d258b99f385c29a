"""random: the baseline that every strategy has to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.base import Batch, Scored, Settings, Unthresholded


class Random(Unthresholded):
    """A seeded uniform score in [0, 1) that depends on the image's id alone.

    Source: the field's standard baseline. Cost: none. Choose this when: you need a baseline.
    """

    name = "random"
    seeded = True
    logits = "none"

    def __init__(self, settings: Settings) -> None:
        """Take the seed."""
        self._seed = settings.seed

    def score(self, batch: Batch) -> Scored:
        """Hash each id with the seed, so that neither order nor batch size matters."""
        return Scored(_uniform(batch.ids, self._seed), batch.label)


def random_bits(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Hash ids (n,) with a seed: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = ids.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return bits


def _uniform(ids: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """The top 24 of the random bits as a float32 in [0, 1)."""
    return (random_bits(ids, seed) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)

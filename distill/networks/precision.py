"""In which precision an embedder computes: bfloat16 where it is faster and says the same."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from distill.networks.embedder import Embedder, Vectors
from index.decoding import Pixels
from index.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LEAST_COSINE, LEAST_GAIN = 0.999, 1.2
_TIMED_IMAGES, _MOST_TURNS, _TIMING_S = 32, 10, 1.0


@dataclass(frozen=True)
class Precision:
    """A precision by name, and what was measured before bfloat16 was taken or left.

    ``cosine`` is the least between an image's two vectors, ``gain`` the ratio of the speeds; both
    are None where nobody measured.
    """

    name: str
    cosine: float | None = None
    gain: float | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and maps."""
        return DTYPES[self.name]


def named(precision: str) -> Precision:
    """Return a precision that was asked for by name.

    Raises:
        UsageError: there is none of this name.
    """
    if precision not in DTYPES:
        raise UsageError(f"--precision is {precision!r}: choose one of auto, {', '.join(DTYPES)}")
    return Precision(precision)


def measure_precision(exact: Embedder, rough: Embedder, pixels: Pixels) -> Precision:
    """Embed pixels (n, S, S, 3) in float32 and in bfloat16, and take bfloat16 if it is worth it.

    That is, if every vector's cosine to its float32 twin is above ``LEAST_COSINE`` and it is at
    least ``LEAST_GAIN`` times as fast. A machine without bfloat16 units is much slower with it,
    and an accelerator as a rule twice as fast.
    """
    cosine = float(_cosines(exact(pixels), rough(pixels)).min())
    gain = _gain(exact, rough, np.resize(pixels, (_TIMED_IMAGES, *pixels.shape[1:])))
    worth_it = cosine > LEAST_COSINE and gain >= LEAST_GAIN
    return Precision("bfloat16" if worth_it else "float32", round(cosine, 6), round(gain, 2))


def _gain(exact: Embedder, rough: Embedder, pixels: Pixels) -> float:
    """Ratio of the best times, taken in turns, for noise only ever adds to a time."""
    ended = time.monotonic() + _TIMING_S
    best = [math.inf, math.inf]
    for _ in range(_MOST_TURNS):
        for which, embedder in enumerate((exact, rough)):
            began = time.perf_counter()
            embedder(pixels)
            best[which] = min(best[which], time.perf_counter() - began)
        if time.monotonic() > ended:
            break
    return best[0] / best[1]


def _cosines(a: Vectors, b: Vectors) -> Vectors:
    """Cosines (n,) of rows; 1 where both are zero, as of a flat image, and 0 where one is."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = np.all(a == b, axis=1)
    cosines: Vectors = np.where(same, 1.0, (a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0))
    return np.nan_to_num(cosines)

"""Scoring without a network, so that a process that only scores starts at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.scoring import Scorer
from index.decoding import Pixels, View

SIZE = 16


def colour_logits(pixels: Pixels) -> NDArray[np.float16]:
    """Logits without a network: how red, green, and blue an image is, (n, 3)."""
    logits: NDArray[np.float16] = (pixels.mean((1, 2)) / 16).astype(np.float16)
    return logits


def colour_moments(pixels: Pixels) -> NDArray[np.float16]:
    """What stands for a raw shift in two layers, (n, 2), of unlike scales."""
    values = pixels.reshape(len(pixels), -1).astype(np.float64)
    moments: NDArray[np.float16] = np.stack(
        [values.std(1) / 10, values.max(1) - values.mean(1)], axis=1
    ).astype(np.float16)
    return moments


def colour_scorer(seen: list[int] | None = None, *, moments: bool = True) -> Scorer:
    """Score by colour, and note in `seen` how many images each pass was given."""

    def forward(pixels: Pixels) -> tuple[NDArray[np.float16], NDArray[np.float16] | None]:
        if seen is not None:
            seen.append(len(pixels))
        return colour_logits(pixels), colour_moments(pixels) if moments else None

    return Scorer("colour", View(SIZE), forward)

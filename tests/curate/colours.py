"""Scoring without a network, so that a process that only scores starts at once."""

from __future__ import annotations

import numpy as np

from curate.scoring import Scorer
from index.decoding import Pixels, View
from index.parts import Rows

SIZE = 16


def colour_logits(pixels: Pixels) -> Rows:
    """Logits without a network: how red, green, and blue an image is, (n, 3)."""
    logits: Rows = (pixels.mean((1, 2)) / 16).astype(np.float16)
    return logits


def colour_moments(pixels: Pixels) -> Rows:
    """What stands for a raw shift in two layers, (n, 2), of unlike scales."""
    values = pixels.reshape(len(pixels), -1).astype(np.float64)
    moments: Rows = np.stack([values.std(1) / 10, values.max(1) - values.mean(1)], axis=1).astype(
        np.float16
    )
    return moments


def colour_scorer(seen: list[int] | None = None, *, moments: bool = True) -> Scorer:
    """Score by colour, and note in `seen` how many images each pass was given."""

    def forward(pixels: Pixels) -> tuple[Rows, dict[str, Rows]]:
        if seen is not None:
            seen.append(len(pixels))
        logits = colour_logits(pixels)
        red = {"classifier_angle": logits[:, :1]}
        return logits, red | ({"bn_shift": colour_moments(pixels)} if moments else {})

    return Scorer("colour", View(SIZE), forward)

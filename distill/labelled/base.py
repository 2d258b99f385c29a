"""What every kind of labelled data gives: images with the number of their true class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.decoding import Pixels, View

# Pixels (S, S, 3) of an image, and the number of its class.
Labelled = tuple[Pixels, int]


@dataclass(frozen=True)
class LabelledImages:
    """Images with their true class: pixels (N, S, S, 3) uint8, labels (N,) int64."""

    pixels: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """How labelled data of one layout is told from others, checked before work, and read.

    `read` takes the source, the view to decode into, and the names of the network's classes.
    """

    matches: Callable[[str], bool]
    check: Callable[[str], None]
    read: Callable[[str, View, Sequence[str] | None], Iterator[Labelled]]

"""What every kind of labelled data gives: images with the number of their true class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.decoding import Pixels, View
from index.errors import DataError

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
    `told` returns the numbers of the classes that can be told without looking at any image, and
    `fetches` whether reading a source may download it first.
    """

    matches: Callable[[str], bool]
    check: Callable[[str], None]
    read: Callable[[str, View, Sequence[str] | None], Iterator[Labelled]]
    told: Callable[[str, Sequence[str] | None], Collection[int]] = lambda _, __: ()
    fetches: Callable[[str], bool] = lambda _: False


def check_labels(labels: Collection[int], classes: int, where: str = "") -> None:
    """Refuse labels that are no classes of a network; `where` says whose labels they are.

    Raises:
        DataError: it says from where to where they run.
    """
    low, high = min(labels, default=0), max(labels, default=0)
    if low < 0 or high >= classes:
        raise DataError(
            f"{where}labels run from {low} to {high}, the network has classes 0 to {classes - 1}: "
            "check the labels"
        )

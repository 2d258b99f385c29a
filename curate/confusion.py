"""A confusion matrix as people read it: the largest confusions, and a CSV file of all."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.files import atomic_path

CORNER = "true \\ answer"


def write_confusion(
    path: Path, confusion: NDArray[np.int64], names: Sequence[str] | None = None
) -> None:
    """Write counts (K, K) as CSV: a row for each true class, a column for each answer."""
    titles = names or [str(number) for number in range(len(confusion))]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([CORNER, *titles])
        for title, row in zip(titles, confusion.tolist(), strict=True):
            writer.writerow([title, *row])


def most_confused(
    confusion: NDArray[np.int64], names: Sequence[str] | None, most: int
) -> list[tuple[str, str, int, float]]:
    """Return (true class, answer, images, share of the true class) of the largest confusions."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = zip(*np.unravel_index(largest, wrong.shape), strict=True)
    titles = names or [str(number) for number in range(len(confusion))]
    return [
        (
            titles[true],
            titles[said],
            int(wrong[true, said]),
            wrong[true, said] / confusion[true].sum(),
        )
        for true, said in places
        if wrong[true, said]
    ]

"""Original images beside the pool: what the teacher, and the students, make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.reference_images import find_images
from curate.report.options import MOST_ORIGINALS
from index import sources
from index.contents import Location
from index.decoding import Pixels, View
from index.parts import Ids
from index.progress import Progress
from index.reading import read_locations


@dataclass(frozen=True)
class Originals:
    """Images of `--reference`: where they are read, by ascending id."""

    sources: list[str]
    places: list[Location]

    @property
    def ids(self) -> Ids:
        """Their ids (r,), ascending."""
        return np.array([place.image_id for place in self.places], dtype=np.int64)

    def each(
        self, view: View, compute: Callable[[Pixels], NDArray[np.float32]], workers: int | None
    ) -> NDArray[np.float32]:
        """Return what a network computes of each image (r, ...), in order of the ids.

        Raises:
            DataError: an image is gone or no longer what it was.
        """
        places = sorted(self.places, key=lambda at: (at.container, at.position))
        ids, rows = [], []
        for here, pixels in read_locations(places, view, workers=workers):
            ids.append(here)
            rows.append(compute(pixels))
        ordered: NDArray[np.float32] = np.concatenate(rows)[np.argsort(np.concatenate(ids))]
        return ordered


def find_originals(
    names: Sequence[str], view: View, workers: int | None, progress: Progress
) -> Originals | None:
    """Find at most MOST_ORIGINALS images of the sources, drawn by their ids; None without sources.

    Raises:
        DataError: a source that cannot be read, or no image in all of them.
    """
    if not names:
        return None
    sources.check(names)
    found = find_images(names, view, workers, MOST_ORIGINALS, progress)
    return Originals(list(names), sorted(found.locations.values()))

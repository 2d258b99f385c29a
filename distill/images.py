"""Decoded images in memory: what a student trains on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.decoding import Pixels, View
from index.errors import DataError, UsageError
from index.parts import Ids, places
from index.progress import Progress, Silent
from index.reading import read_images

_GIB = 1 << 30


@dataclass(frozen=True)
class PoolImages:
    """Images by id: ids (N,) ascending, pixels (N, S, S, 3) uint8."""

    ids: Ids
    pixels: Pixels

    def places(self, ids: Ids) -> NDArray[np.int64]:
        """Return the row of each id."""
        return places(self.ids, ids)


def load_pool(
    catalog: Catalog,
    view: View,
    *,
    only: str,
    cache_budget_gib: float,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PoolImages:
    """Decode the images that the SQL query `only` names, once, for the whole training.

    Raises:
        UsageError: they need more memory than the budget.
    """
    if not cache_budget_gib > 0:  # NaN, too
        raise UsageError(f"--cache-budget is {cache_budget_gib:g}: it must be above 0")
    with catalog.read() as connection:
        ids = connection.execute(
            f"SELECT DISTINCT image_id FROM ({only}) t(image_id) ORDER BY 1"
        ).fetchnumpy()["image_id"]
    ids = np.asarray(ids, dtype=np.int64)
    need = len(ids) * view.size * view.size * 3 / _GIB
    if need > cache_budget_gib:
        raise UsageError(
            f"{len(ids)} images of {view.size}x{view.size} need {need:.1f} GiB of memory: raise "
            f"--cache-budget (now {cache_budget_gib:g}) or select fewer"
        )
    pool = PoolImages(ids, np.empty((len(ids), view.size, view.size, 3), np.uint8))
    with (progress or Silent()).step("Decoding", len(ids), "images") as advance:
        read = 0
        for found, pixels in read_images(catalog, view, only=only, workers=workers):
            pool.pixels[pool.places(found)] = pixels
            read += len(found)
            advance(len(found))
    if read != len(ids):
        raise DataError(
            f"{len(ids) - read} of {len(ids)} images are no longer in the sources: select again"
        )
    return pool

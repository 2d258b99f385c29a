"""Decoded images, in memory or mapped: what a student trains on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.processes import Processes
from index.catalog import Catalog
from index.decoding import Pixels, View
from index.errors import DataError, UsageError, WorkspaceError
from index.parts import Ids, places
from index.pixelcache import FOLDER, cache_folder, open_cached, write_cached
from index.progress import Advance, Progress, Silent
from index.reading import read_images

_GIB = 1 << 30


@dataclass(frozen=True)
class PoolImages:
    """Images by id: ids (N,) ascending, pixels (N, S, S, 3) uint8."""

    ids: Ids
    pixels: Pixels

    @property
    def in_memory(self) -> int:
        """Bytes that the pixels take in memory: none where they lie in a file."""
        return 0 if isinstance(self.pixels, np.memmap) else self.pixels.nbytes

    def places(self, ids: Ids) -> NDArray[np.int64]:
        """Return the row of each id."""
        return places(self.ids, ids)


def check_cache_budget(gib: float) -> None:
    """Refuse a budget without sense.

    Raises:
        UsageError: it is not above 0.
    """
    if not gib > 0:  # NaN, too
        raise UsageError(f"--cache-budget is {gib:g}: it must be above 0")


def load_pool(
    catalog: Catalog,
    view: View,
    *,
    only: str,
    cache_budget_gib: float,
    workers: int | None = None,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> PoolImages:
    """Decode the images that the SQL query `only` names, once, for the whole training.

    What fits into the budget is kept in memory; more, and what several processes share, in a file
    of the workspace, which the next run of the same images finds there.

    Raises:
        UsageError: a budget without sense.
        WorkspaceError: the disk is too small for that file.
        DataError: an image is gone.
    """
    check_cache_budget(cache_budget_gib)

    def load(budget: float) -> PoolImages:
        return _load(catalog, view, only, budget, workers, progress or Silent())

    if processes is None or processes.count == 1:
        return load(cache_budget_gib * _GIB)

    def share() -> Path:
        return cache_folder(catalog.workspace, load(0).ids, view)

    shared = open_cached(processes.of_first(share))
    if shared is None:
        raise WorkspaceError(
            f"process {processes.rank} does not see {catalog.workspace / FOLDER}: the workspace "
            "has to lie on a file system that all machines share"
        )
    return PoolImages(*shared)


def _load(
    catalog: Catalog,
    view: View,
    only: str,
    budget: float,
    workers: int | None,
    progress: Progress,
) -> PoolImages:
    with catalog.read() as connection:
        ids = connection.execute(
            f"SELECT DISTINCT image_id FROM ({only}) t(image_id) ORDER BY 1"
        ).fetchnumpy()["image_id"]
    ids = np.asarray(ids, dtype=np.int64)
    folder = cache_folder(catalog.workspace, ids, view)
    if cached := open_cached(folder):
        progress.say(f"{len(ids)} decoded images are read from {folder}")
        return PoolImages(*cached)
    with progress.step("Decoding", len(ids), "images") as advance:
        read = _read(catalog, view, only, len(ids), workers, advance)
        if len(ids) * view.size * view.size * 3 > budget:
            return PoolImages(*write_cached(folder, ids, view, read))
        pool = PoolImages(ids, np.empty((len(ids), view.size, view.size, 3), np.uint8))
        for found, pixels in read:
            pool.pixels[pool.places(found)] = pixels
    return pool


def _read(
    catalog: Catalog, view: View, only: str, wanted: int, workers: int | None, advance: Advance
) -> Iterator[tuple[Ids, Pixels]]:
    """Yield what is wanted; an image that is gone is no silent gap."""
    read = 0
    for found, pixels in read_images(catalog, view, only=only, workers=workers):
        yield found, pixels
        read += len(found)
        advance(len(found))
    if read != wanted:
        raise DataError(
            f"{wanted - read} of {wanted} images are no longer in the sources: select again"
        )

"""Pixels of catalogued images, read again from where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from index.catalog import Catalog
from index.contents import (
    IMAGES_A_TASK,
    Location,
    ReadTask,
    read_contents,
    read_tasks,
    unreadable,
)
from index.decoding import DecodeError, Pixels, View, decode
from index.parts import Ids
from index.workers import default_workers, ordered_map


def read_images(
    catalog: Catalog, view: View, *, only: str = "", workers: int | None = None
) -> Iterator[tuple[Ids, Pixels]]:
    """Yield ids (n,) and pixels (n, size, size, 3) of catalogued images in a fixed order.

    Args:
        only: a SQL query that yields the image ids to read; by default all are read.

    Raises:
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    yield from _read(read_tasks(catalog, only), view, workers)


def read_locations(
    locations: Sequence[Location], view: View, *, workers: int | None = None
) -> Iterator[tuple[Ids, Pixels]]:
    """Yield ids (n,) and pixels (n, size, size, 3) of the images at these places, in their order.

    Raises:
        DataError: an image is gone or no longer what its id says.
    """
    tasks = (
        ReadTask(tuple(locations[start : start + IMAGES_A_TASK]))
        for start in range(0, len(locations), IMAGES_A_TASK)
    )
    yield from _read(tasks, view, workers)


def _read(
    tasks: Iterable[ReadTask], view: View, workers: int | None
) -> Iterator[tuple[Ids, Pixels]]:
    workers = default_workers() if workers is None else workers
    yield from ordered_map(partial(_read_task, view=view), tasks, workers)


def _read_task(task: ReadTask, view: View) -> tuple[Ids, Pixels]:
    ids: list[int] = []
    pixels: list[Pixels] = []
    for row, data in read_contents(task.rows):
        try:
            pixels.append(decode(data, view).pixels)
        except DecodeError as error:
            raise unreadable(row, error) from None
        ids.append(row.image_id)
    return np.array(ids, dtype=np.int64), np.stack(pixels)

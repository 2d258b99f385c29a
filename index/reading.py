"""Pixels of catalogued images, read again from where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from index.catalog import Catalog
from index.contents import ReadTask, read_contents, read_tasks, unreadable
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
    workers = default_workers() if workers is None else workers
    yield from ordered_map(partial(_read_task, view=view), read_tasks(catalog, only), workers)


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

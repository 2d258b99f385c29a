"""A few real images, to try a network on: of the catalog, or of any source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from distill.labelled import is_data_set, read_labelled
from index import sources
from index.catalog import Catalog
from index.decoding import DecodeError, Pixels, View, decode
from index.errors import DataError
from index.reading import read_images


def sample_catalog(
    catalog: Catalog, view: View, count: int, *, seed: int = 0, workers: int | None = None
) -> Pixels:
    """Return pixels (n, S, S, 3) of at most `count` catalogued images, drawn by id and seed.

    Raises:
        DataError: the catalog has none, or one of them is gone.
        WorkspaceError: there is no catalog.
    """
    only = f"SELECT id FROM images ORDER BY md5(concat(id, ':', {seed})), id LIMIT {count}"
    found = [pixels for _, pixels in read_images(catalog, view, only=only, workers=workers)]
    if not found:
        raise DataError(f"{catalog.path} has no images: run build-index, or give --data")
    return np.concatenate(found)


def sample_source(source: str, view: View, count: int) -> Pixels:
    """Return pixels (n, S, S, 3) of the first `count` images of a source that decode.

    Raises:
        DataError: no such source, or none of it decodes.
    """
    found: list[Pixels] = []
    for pixels in _decoded(source, view):
        found.append(pixels)
        if len(found) == count:
            break
    if not found:
        raise DataError(f"no image of {source} can be decoded: give another --data")
    return np.stack(found)


def _decoded(source: str, view: View) -> Iterator[Pixels]:
    if is_data_set(source):
        for batch in read_labelled(source, view):
            yield from batch.pixels
        return
    for partition in sources.partitions([source]):
        for item in sources.read(partition):
            try:
                yield decode(item.data, view).pixels
            except DecodeError:
                continue  # any few will do

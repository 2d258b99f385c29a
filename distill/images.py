"""Decoded images in memory: what a student trains on, and labelled data to evaluate it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import sources
from index.catalog import Catalog
from index.decoding import DecodeError, Pixels, View, decode
from index.errors import DataError, UsageError
from index.progress import Progress, Silent
from index.reading import read_images

Ids = NDArray[np.int64]
_GIB = 1 << 30
_LABEL_COLUMNS = ("label", "labels", "class", "target")


@dataclass(frozen=True)
class PoolImages:
    """Images by id: ids (N,) ascending, pixels (N, S, S, 3) uint8."""

    ids: Ids
    pixels: Pixels

    def places(self, ids: Ids) -> NDArray[np.int64]:
        """Return the row of each id."""
        return np.searchsorted(self.ids, ids)


@dataclass(frozen=True)
class LabelledImages:
    """Images with their true class: pixels (N, S, S, 3) uint8, labels (N,) int64."""

    pixels: Pixels
    labels: NDArray[np.int64]


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
        for found, pixels in read_images(catalog, view, only=only, workers=workers):
            pool.pixels[pool.places(found)] = pixels
            advance(len(found))
    return pool


def load_labelled(source: str, view: View) -> LabelledImages:
    """Decode labelled data: Parquet with image and label columns, or one folder a class.

    Raises:
        DataError: no labels, or an image that cannot be decoded; evaluation skips nothing.
    """
    root = Path(source).expanduser().absolute()
    class_names = _class_folders(root)
    pixels: list[Pixels] = []
    labels: list[int] = []
    for partition in sources.partitions([source]):
        for item in sources.read(partition):
            try:
                pixels.append(decode(item.data, view).pixels)
            except DecodeError as error:
                raise DataError(
                    f"{item.uri}: {item.error or error}; remove it from {source}"
                ) from None
            labels.append(_label(item, root, class_names))
    if not pixels:
        raise DataError(f"{source} holds no images")
    return LabelledImages(np.stack(pixels), np.array(labels, dtype=np.int64))


def _class_folders(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    folders = (entry.name for entry in root.iterdir() if entry.is_dir())
    return sorted(name for name in folders if not name.startswith("."))


def _label(item: sources.Item, root: Path, class_names: list[str]) -> int:
    if class_names:
        folder, *below = Path(item.uri).relative_to(root).parts
        if not below:
            raise DataError(f"{item.uri} lies in no class folder of {root}: move or remove it")
        return class_names.index(folder)
    for column in _LABEL_COLUMNS:
        value: Any = item.metadata.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise DataError(
        f"{item.uri} has no label: name an integer column {', '.join(_LABEL_COLUMNS)}, "
        "or give a folder with one folder a class"
    )

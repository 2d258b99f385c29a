"""Decoded images: what a student trains on, and labelled data to evaluate it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.processes import Processes
from index import sources
from index.catalog import Catalog
from index.decoding import DecodeError, Pixels, View, decode
from index.errors import DataError, UsageError, WorkspaceError
from index.parts import Ids, places
from index.pixelcache import FOLDER, cache_folder, open_cached, write_cached
from index.progress import Advance, Progress, Silent
from index.reading import read_images

_GIB = 1 << 30
_LABEL_COLUMNS = ("label", "labels", "class", "target")


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
    if not cache_budget_gib > 0:  # NaN, too
        raise UsageError(f"--cache-budget is {cache_budget_gib:g}: it must be above 0")

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


def load_labelled(source: str, view: View, classes: Sequence[str] | None = None) -> LabelledImages:
    """Decode labelled data: Parquet with image and label columns, or one folder a class.

    A folder is named after a class of `classes` or after a class's number, so that a data set that
    lacks a class does not shift the others. Without `classes`, names count in their order.

    Raises:
        DataError: no labels, or an image that cannot be decoded; evaluation skips nothing.
    """
    root = Path(source).expanduser().absolute()
    numbers = _class_folders(root, classes)
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
            labels.append(_label(item, root, numbers))
    if not pixels:
        raise DataError(f"{source} holds no images")
    return LabelledImages(np.stack(pixels), np.array(labels, dtype=np.int64))


def _class_folders(root: Path, classes: Sequence[str] | None) -> dict[str, int]:
    """Number of each folder's class; empty for a file, or for a folder without folders."""
    if not root.is_dir():
        return {}
    folders = [entry.name for entry in root.iterdir() if entry.is_dir()]
    folders = sorted(name for name in folders if not name.startswith("."))
    known = {name: number for number, name in enumerate(classes or [])}
    if all(name.isdecimal() for name in folders) and not known.keys() >= set(folders):
        return {name: int(name) for name in folders}
    if not known:  # the order of torchvision's ImageFolder
        return {name: number for number, name in enumerate(folders)}
    for name in folders:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its classes are {', '.join(known)}"
            raise DataError(f"{root / name} is no class of the card: {hint}")
    return {name: known[name] for name in folders}


def _label(item: sources.Item, root: Path, numbers: dict[str, int]) -> int:
    if numbers:
        folder, *below = Path(item.uri).relative_to(root).parts
        if not below:
            raise DataError(f"{item.uri} lies in no class folder of {root}: move or remove it")
        return numbers[folder]
    for column in _LABEL_COLUMNS:
        value: Any = item.metadata.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise DataError(
        f"{item.uri} has no label: name an integer column {', '.join(_LABEL_COLUMNS)}, "
        "or give a folder with one folder a class"
    )

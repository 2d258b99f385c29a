"""Labelled data, to evaluate a network on. A layout is one module and one line in `_KINDS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from distill.labelled import annotated, folders, vision
from distill.labelled.base import Kind, Labelled, LabelledImages, check_labels
from index.decoding import View
from index.errors import DataError

__all__ = [
    "LabelledImages",
    "batch_of",
    "check_labelled",
    "check_start",
    "is_data_set",
    "load_labelled",
    "read_labelled",
]

# The first that matches reads: folders and Parquet files are what is left.
_KINDS = (
    Kind(vision.matches, vision.check, vision.read, fetches=vision.fetches),
    Kind(annotated.matches, annotated.check, annotated.read, annotated.told),
    Kind(lambda _: True, folders.check, folders.read, folders.told),
)
_START = 256
_BATCH_BYTES = 64 << 20


def check_labelled(source: str) -> None:
    """Refuse a source that is not there, before any work is done.

    Raises:
        DataError, UsageError: it names the source and what could stand there.
    """
    _kind(source).check(source)


def check_start(
    source: str,
    view: View,
    classes: Sequence[str] | None,
    count: int,
    *,
    fetch: bool = True,
) -> None:
    """Refuse what no network of these classes can be evaluated on, as far as its start tells.

    Names of folders and of lists are all looked at, and the first images are read.

    Args:
        source, view, classes: see `read_labelled`.
        count: of the network's classes.
        fetch: whether what has to be downloaded is; it is not looked at otherwise.

    Raises:
        DataError, UsageError: it is not there, or an image or label that evaluation would refuse.
    """
    kind = _kind(source)
    kind.check(source)
    if kind.fetches(source) and not fetch:
        return
    check_labels(kind.told(source, classes), count, f"{source}: ")
    labels = [label for _, label in islice(kind.read(source, view, classes), _START)]
    if not labels:
        raise _no_images(source)
    check_labels(labels, count, f"{source}: ")


def read_labelled(
    source: str, view: View, classes: Sequence[str] | None = None, batch: int | None = None
) -> Iterator[LabelledImages]:
    """Decode labelled data in batches that memory can hold, in the order of the source.

    Args:
        source: Parquet with image and label columns, one folder a class, `torchvision:NAME?root=R`,
            or a folder with a list of labels, see the modules beside this one.
        view: the size that the network sees.
        classes: names of the network's classes, for data that is labelled with names.
        batch: images at once; by default some 64 MiB of them.

    Raises:
        DataError: no labels, or an image that cannot be decoded; evaluation skips nothing.
    """
    batch = batch or batch_of(view)
    waiting: list[Labelled] = []
    count = 0
    for one in _kind(source).read(source, view, classes):
        count += 1
        waiting.append(one)
        if len(waiting) == batch:
            yield _stacked(waiting)
            waiting = []
    if waiting:
        yield _stacked(waiting)
    if count == 0:
        raise _no_images(source)


def load_labelled(source: str, view: View, classes: Sequence[str] | None = None) -> LabelledImages:
    """Decode labelled data into memory at once; see `read_labelled`."""
    batches = list(read_labelled(source, view, classes))
    return LabelledImages(
        np.concatenate([batch.pixels for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
    )


def is_data_set(source: str) -> bool:
    """Tell whether a source is one of torchvision's data sets, which only this package reads."""
    return vision.matches(source)


def batch_of(*views: View) -> int:
    """Return how many images of the largest of these views are read at once."""
    side = max(view.size for view in views)
    return max(1, _BATCH_BYTES // (side * side * 3))


def _no_images(source: str) -> DataError:
    return DataError(f"{source} holds no images")


def _kind(source: str) -> Kind:
    return next(kind for kind in _KINDS if kind.matches(source))


def _stacked(images: Sequence[Labelled]) -> LabelledImages:
    pixels, labels = zip(*images, strict=True)
    return LabelledImages(np.stack(pixels), np.array(labels, dtype=np.int64))

"""Parquet files with image and label columns, and folders with one folder a class."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.labelled.base import Labelled
from index import sources
from index.decoding import DecodeError, View, decode
from index.errors import DataError
from index.sources.files import is_image_name
from index.sources.tree import files_below

LABEL_COLUMNS = ("label", "labels", "class", "target")


def check(source: str) -> None:
    """Refuse a source that does not exist or that nothing opens."""
    sources.check([source])


def read(source: str, view: View, classes: Sequence[str] | None) -> Iterator[Labelled]:
    """Decode image by image.

    A folder is named after a class of `classes` or after a class's number, so that a data set that
    lacks a class does not shift the others. Without `classes`, names count in their order.

    Raises:
        DataError: no label, a folder that is no class, or an image that cannot be decoded.
    """
    root = Path(source).expanduser().absolute()
    numbers = _class_folders(root, classes)
    for partition in sources.partitions([source]):
        for item in sources.read(partition):
            try:
                pixels = decode(item.data, view).pixels
            except DecodeError as error:
                raise DataError(
                    f"{item.uri}: {item.error or error}; remove it from {source}"
                ) from None
            yield pixels, _label(item, root, numbers)


def told(source: str, classes: Sequence[str] | None) -> list[int]:
    """Return the numbers of the class folders that hold anything.

    Raises:
        DataError: a folder that is no class.
    """
    root = Path(source).expanduser().absolute()
    numbers = _class_folders(root, classes)
    return [number for name, number in numbers.items() if _holds_any(root / name)]


def _holds_any(folder: Path) -> bool:
    return not folder.is_symlink() and any(files_below(str(folder), is_image_name))


def class_numbers(
    names: Sequence[str], classes: Sequence[str] | None, where: str
) -> dict[str, int]:
    """Number each name, of a folder or in a list: by `classes`, as a number, or in their order.

    Raises:
        DataError: a name that is no class; `where` says whose name it is.
    """
    known = {name: number for number, name in enumerate(classes or [])}
    if all(name.isdecimal() for name in names) and not known.keys() >= set(names):
        return {name: int(name) for name in names}
    if not known:  # the order of torchvision's ImageFolder
        return {name: number for number, name in enumerate(sorted(names))}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its classes are {', '.join(known)}"
            raise DataError(f"{where}{name} is no class of the card: {hint}")
    return {name: known[name] for name in names}


def _class_folders(root: Path, classes: Sequence[str] | None) -> dict[str, int]:
    """Number of each folder's class; empty for a file, or for a folder without folders."""
    if not root.is_dir():
        return {}
    found = [entry.name for entry in root.iterdir() if entry.is_dir()]
    names = sorted(name for name in found if not name.startswith("."))
    return class_numbers(names, classes, f"{root}/")


def _label(item: sources.Item, root: Path, numbers: dict[str, int]) -> int:
    if numbers:
        folder, *below = Path(item.uri).relative_to(root).parts
        if not below:
            raise DataError(f"{item.uri} lies in no class folder of {root}: move or remove it")
        return numbers[folder]
    for column in LABEL_COLUMNS:
        value: Any = item.metadata.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise DataError(
        f"{item.uri} has no label: name an integer column {', '.join(LABEL_COLUMNS)}, "
        "or give a folder with one folder a class"
    )

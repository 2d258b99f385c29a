"""Folders whose labels stand in a text file: TinyImageNet's `val`, and MNIST-M as published.

val/val_annotations.txt                 name, class, box, with tabs; the images in val/images
mnist_m_test_labels.txt                 name and number; the images in mnist_m_test beside it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.labelled.base import Labelled
from distill.labelled.folders import class_numbers
from index.decoding import DecodeError, Pixels, View, decode
from index.errors import DataError

TINY_IMAGENET = "val_annotations.txt"
# All classes of TinyImageNet, one a line, beside the folders train, val and test.
_ALL_CLASSES = "wnids.txt"


def matches(source: str) -> bool:
    """Tell whether a list of labels lies in the folder, beside it, or in its folder `val`."""
    root = _root(source)
    return root.is_dir() and (
        _list_of(root) is not None or (root / "val" / TINY_IMAGENET).is_file()
    )


def check(source: str) -> None:
    """Refuse the folder that holds all of TinyImageNet.

    Raises:
        DataError: it names the folder to give in its place.
    """
    root = _root(source)
    if _list_of(root) is None:
        raise DataError(
            f"{source} holds several data sets: give {root / 'val'} or {root / 'train'}"
        )


def read(source: str, view: View, classes: Sequence[str] | None) -> Iterator[Labelled]:
    """Decode the images in the order of the list.

    Without `classes`, TinyImageNet's are numbered in the order of their names, as its training
    folders are.

    Raises:
        DataError: a line or an image that cannot be read, or a name that is no class.
    """
    root = _root(source)
    for name, number in _numbered(source, classes).items():
        yield _pixels(_images_of(root) / name, view), number


def told(source: str, classes: Sequence[str] | None) -> set[int]:
    """Return the numbers of all classes in the list.

    Raises:
        DataError: a line that cannot be read, or a name that is no class.
    """
    return set(_numbered(source, classes).values())


def _numbered(source: str, classes: Sequence[str] | None) -> dict[str, int]:
    """The number of each image's class, by the name of its file."""
    check(source)
    root = _root(source)
    listing = _list_of(root)
    assert listing is not None
    labels = dict(_lines(listing))
    numbers = class_numbers(_every_class(root, labels), classes, f"{listing}: ")
    return {name: numbers[label] for name, label in labels.items()}


def _root(source: str) -> Path:
    return Path(source).expanduser().absolute()


def _images_of(root: Path) -> Path:
    return root / "images" if (root / TINY_IMAGENET).is_file() else root


def _list_of(root: Path) -> Path | None:
    inside, beside = root / TINY_IMAGENET, root.with_name(f"{root.name}_labels.txt")
    return next((path for path in (inside, beside) if path.is_file()), None)


def _lines(listing: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = listing.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{listing} is no UTF-8 text: save it as such") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t" if "\t" in line else None)
        if not rest or Path(name).name != name:
            raise DataError(f"{listing}, line {number}: no file name and class; mend the line")
        yield name, rest[0]


def _every_class(root: Path, labels: dict[str, str]) -> list[str]:
    """Also those of which the list has no image: or they would shift the others."""
    found = root.parent / _ALL_CLASSES
    listed = found.read_text("utf-8").split() if found.is_file() else []
    return sorted({*listed, *labels.values()})


def _pixels(path: Path, view: View) -> Pixels:
    try:
        return decode(path.read_bytes(), view).pixels
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); put it back") from error
    except DecodeError as error:
        raise DataError(f"{path}: {error}; take its line out of the list") from None

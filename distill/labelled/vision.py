"""torchvision's own data sets, as `torchvision:CIFAR10?root=DIR&split=test`.

The files lie under `root` as torchvision leaves them. Nothing is downloaded without
`download=true`. Pickles (CIFAR) are read only where their MD5 is the published one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from PIL import Image

from distill.labelled.base import Labelled
from index.decoding import DecodeError, View, decode, square
from index.errors import DataError, UsageError, nearest

PREFIX = "torchvision:"
_KEYS = ("root", "split", "download")


@dataclass(frozen=True)
class VisionSet:
    """A class of torchvision's: what makes each split, and whether it can be downloaded."""

    splits: Mapping[str, Mapping[str, Any]]
    downloads: bool = True


def _named(*splits: str) -> dict[str, dict[str, Any]]:
    return {name: {"split": name} for name in splits}


_FLAG: dict[str, dict[str, Any]] = {"test": {"train": False}, "train": {"train": True}}
# The first split is the default: what a network is evaluated on.
SETS = {
    "MNIST": VisionSet(_FLAG),
    "FashionMNIST": VisionSet(_FLAG),
    "KMNIST": VisionSet(_FLAG),
    "USPS": VisionSet(_FLAG),
    "SVHN": VisionSet(_named("test", "train", "extra")),
    "CIFAR10": VisionSet(_FLAG),
    "CIFAR100": VisionSet(_FLAG),
    "STL10": VisionSet(_named("test", "train")),
    "ImageNet": VisionSet(_named("val", "train"), downloads=False),
}


@dataclass(frozen=True)
class _Spec:
    name: str
    root: Path
    options: Mapping[str, Any]
    download: bool


def matches(source: str) -> bool:
    """Tell whether the source names one of torchvision's data sets."""
    return source.startswith(PREFIX)


def check(source: str) -> None:
    """Refuse a spec that names no data set, or whose folder is not there.

    Raises:
        UsageError: an unknown name, key or split, or no root.
        DataError: the root is no folder.
    """
    spec = _parse(source)
    if not (spec.download or spec.root.is_dir()):
        raise DataError(f"{source}: {spec.root} is no folder; put the files there, {_remedy(spec)}")


def fetches(source: str) -> bool:
    """Tell whether a source may be downloaded where its files are not there."""
    return _parse(source).download


def read(source: str, view: View, classes: Sequence[str] | None) -> Iterator[Labelled]:
    """Decode image by image; grey images get three equal channels.

    A label is the data set's own number, or the number of its name where the network knows all
    names of the data set.

    Raises:
        DataError: the files are not there or damaged, or the classes are not the network's.
    """
    check(source)
    spec = _parse(source)
    found = _open(spec, source)
    numbers = _numbers(source, getattr(found, "classes", None), classes)
    if isinstance(samples := getattr(found, "samples", None), list):  # files of their own
        for path, label in samples:
            yield _file(Path(path), view), numbers.get(label, label)
        return
    for place in range(len(found)):
        image, label = found[place]
        assert isinstance(image, Image.Image)
        yield square(image, view), numbers.get(int(label), int(label))


def _parse(source: str) -> _Spec:
    name, _, query = source.removeprefix(PREFIX).partition("?")
    if name not in SETS:
        raise UsageError(f"{PREFIX}{name} is no data set that can be read: {nearest(name, SETS)}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for key in given.keys() - set(_KEYS):
        raise UsageError(f"{source}: no key {key!r}: {nearest(key, _KEYS)}")
    if not given.get("root"):
        raise UsageError(f"{source}: say where its files are, as {PREFIX}{name}?root=DIR")
    known = SETS[name]
    split = given.get("split", next(iter(known.splits)))
    if split not in known.splits:
        raise UsageError(f"{source}: no split {split!r}: {nearest(split, known.splits.keys())}")
    if (download := given.get("download", "false")) not in ("true", "false"):
        raise UsageError(f"{source}: download is {download!r}: write true or false")
    if download == "true" and not known.downloads:
        raise UsageError(f"{name} cannot be downloaded freely: get its archives and leave it out")
    root = Path(given["root"]).expanduser()
    return _Spec(name, root, known.splits[split], download == "true")


def _open(spec: _Spec, source: str) -> Any:
    from torchvision import datasets

    options = dict(spec.options) | ({"download": True} if spec.download else {})
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where torchvision prints that it downloads
            return getattr(datasets, spec.name)(str(spec.root), **options)
    except Exception as error:  # every class raises its own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{source}: torchvision cannot read it ({reason}); put whole files there, "
            f"{_remedy(spec)}"
        ) from error


def _remedy(spec: _Spec) -> str:
    if SETS[spec.name].downloads:
        return "or add &download=true"
    return "or its archives, which torchvision unpacks"


def _numbers(
    source: str, found: Sequence[Any] | None, classes: Sequence[str] | None
) -> dict[int, int]:
    """Number of each class of the data set in the network, where it is not the same."""
    if not found or not classes:
        return {}
    known = {name: number for number, name in enumerate(classes)}
    names = [name if isinstance(name, str) else name[0] for name in found]  # ImageNet: synonyms
    if known.keys() >= set(names):
        return {number: known[name] for number, name in enumerate(names)}
    moved = [name for number, name in enumerate(names) if known.get(name, number) != number]
    if len(names) != len(classes) or moved:
        raise DataError(
            f"{source} has {len(names)} classes ({', '.join(names[:3])}, ...), the card "
            f"{len(classes)} ({', '.join(classes[:3])}, ...): name the card's classes as they are "
            "called there"
        )
    return {}


def _file(path: Path, view: View) -> Any:
    try:
        return decode(path.read_bytes(), view).pixels
    except (OSError, DecodeError) as error:
        raise DataError(f"{path}: {error}; put a whole one there") from None

"""Source: a folder tree of image files, or a single image file."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from index.errors import DataError, UsageError
from index.sources.base import Item, Partition, SourceOptions, fingerprint, partition_key
from index.sources.places import Place, Url, place
from index.sources.retries import Retries, may_pass
from index.sources.tree import HIDDEN, OTHERS, files_below, is_made

KIND = "files"
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
)
MAX_BYTES = 256 * 1024 * 1024
REMEDY = "put it back, or run build-index on the sources again"
_MOST_FILES = 1024
_CUT_ONE_IN = 256

Entry = tuple[str, int, int | str]


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept any folder, and a file with the suffix of an image."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """Cut a tree into partitions of about 256 files, in the order of their paths.

    A partition ends where the hash of a file's name says so, not at a count: a file added to
    the crawl changes one partition only, and the others need not be read again.

    Raises:
        UsageError: what a method made is named by its files, not by their list.
    """
    if isinstance(path, Path):
        _refuse_made(path)
    chunk: list[Entry] = []
    for entry in _entries(path, options.left_aside):
        chunk.append(entry)
        if ends_partition(place(entry[0]).name, len(chunk)):
            yield _partition(path, chunk)
            chunk = []
    if chunk:
        yield _partition(path, chunk)


def _refuse_made(path: Path) -> None:
    whole = path.resolve()
    folder = next((one for one in (whole, *whole.parents) if is_made(str(one))), None)
    if folder is not None:
        raise UsageError(
            f"{path} holds images that a method made, and its files do not say which: they are "
            f"catalogued already, by {folder}.jsonl"
        )


def read(partition: Partition) -> Iterator[Item]:
    """Read each file; a file that cannot be read is an item with an error."""
    retries = Retries()
    for name, size, _ in partition.entries:
        yield read_file(name, size, {}, retries)


def read_file(name: str, size: int, metadata: dict[str, Any], retries: Retries) -> Item:
    """Read one file, of `size` bytes when it was listed; why it cannot be read is in the item."""
    uri = os.fsencode(name).decode("utf-8", "backslashreplace")
    if uri != name:
        return Item(uri, uri, 0, 0, error="file name is not UTF-8: rename it")
    if size > MAX_BYTES:
        return Item(uri, name, 0, size, error=too_large(size))
    try:
        data = retries(partial(_content, place(name)))
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        return Item(uri, name, 0, 0, error=reason, transient=may_pass(error))
    return Item(uri, name, 0, len(data), data, metadata=metadata)


def too_large(size: int) -> str:
    """Return the reason why an image of so many bytes is not read."""
    return f"too large: {size} bytes > {MAX_BYTES}"


def listed(file: Place) -> Entry:
    """Return a file's path, size, and modification time; size -1 where it cannot be looked at."""
    try:
        return fingerprint(file)
    except OSError:
        return str(file), -1, 0


def ends_partition(name: str, count: int) -> bool:
    """Tell whether the file of this name is the last of its partition, which has `count` by now."""
    return zlib.crc32(os.fsencode(name)) % _CUT_ONE_IN == 0 or count == _MOST_FILES


def _content(path: Place) -> bytes:
    if isinstance(path, Url):
        data = path.read_at_most(MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes")
        return data
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe or device would be read for ever
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes()


def fetch(container: str, places: Sequence[tuple[int, int]], _: str = "") -> Iterator[bytes]:
    """Read a file again, or the byte ranges `places` of it."""
    try:
        with place(container).open("rb") as file:
            for position, length in places:
                file.seek(position)
                data = file.read(length)
                if len(data) != length:
                    raise DataError(f"{container} is shorter than when it was indexed: {REMEDY}")
                yield data
    except OSError as error:
        raise DataError(f"cannot read {container} ({error.strerror}): {REMEDY}") from error


def _entries(path: Place, left_aside: Counter[str]) -> Iterator[Entry]:
    if isinstance(path, Url):
        yield from _walk_url(path, left_aside)
    elif path.is_file():
        yield listed(path)
    else:
        found = files_below(str(path), is_image_name, left_aside)
        yield from (listed(Path(name)) for name in found)


def is_image_name(name: str) -> bool:
    """Tell whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _walk_url(url: Url, left_aside: Counter[str]) -> Iterator[Entry]:
    if not url.is_dir():
        yield listed(url)
        return
    try:
        found = url.files()
    except OSError as error:
        raise DataError(f"cannot list {url} ({error.strerror}): try again") from error
    for entry in found:
        below = entry[0].removeprefix(str(url))
        if "/." in f"/{below}":
            left_aside[HIDDEN] += 1
        elif Url(entry[0]).suffix.lower() not in SUFFIXES:
            left_aside[OTHERS] += 1
        else:
            yield entry


def _partition(root: Place, chunk: list[Entry]) -> Partition:
    entries = tuple(chunk)
    safe = [(os.fsencode(name).hex(), size, changed) for name, size, changed in entries]
    return Partition(partition_key(KIND, safe), KIND, str(root), entries, len(entries))

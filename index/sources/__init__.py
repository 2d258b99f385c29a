"""Where images come from. A source is one module and one line in `_KINDS`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from index.errors import DataError
from index.sources import files, parquet, tar
from index.sources.base import Item, Partition, SourceKind, metadata_json

__all__ = ["Item", "Partition", "check", "fetch", "metadata_json", "partitions", "read"]

_KINDS: dict[str, SourceKind] = {
    "files": SourceKind(files.matches, files.partitions, files.read, files.fetch),
    "parquet": SourceKind(parquet.matches, parquet.partitions, parquet.read, parquet.fetch),
    "tar": SourceKind(tar.matches, tar.partitions, tar.read, tar.fetch),
}


def partitions(sources: Sequence[str]) -> Iterator[Partition]:
    """Cut sources (folder, image file, *.parquet, *.tar, or a glob of them) into partitions.

    Raises:
        DataError: a source that does not exist or that no kind of source opens.
    """
    for source in sources:
        for path in _expand(source):
            yield from _KINDS[_kind_of(path)].partitions(path)


def check(sources: Sequence[str]) -> None:
    """Refuse a source that does not exist or that nothing opens, before any work is done.

    Raises:
        DataError: it names the source and what could stand there.
    """
    for source in sources:
        for path in _expand(source):
            _kind_of(path)


def read(partition: Partition) -> Iterator[Item]:
    """Read the bytes of every image of a partition, in order."""
    return _KINDS[partition.kind].read(partition)


def fetch(kind: str, container: str, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Read images again by their (position, length) in a container, in the order given.

    Raises:
        DataError: the container is gone or shorter than the catalog remembers.
    """
    return _KINDS[kind].fetch(container, places)


def _expand(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.exists():
        return [path.absolute()]
    found = sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise DataError(f"no such source: {source} (a folder, image, .parquet, .tar, or a glob)")
    return [Path(name).absolute() for name in found]


def _kind_of(path: Path) -> str:
    if os.fsencode(path).decode("utf-8", "replace") != str(path):
        raise DataError(f"the path of a source is not UTF-8: {ascii(str(path))}; rename it")
    if not (path.is_dir() or path.is_file()):  # a pipe or device would be read for ever
        raise DataError(f"neither a folder nor a regular file: {path}")
    for name, kind in _KINDS.items():
        if kind.matches(path):
            return name
    raise DataError(f"not a source that kdcurate reads: {path} (folder, image, .parquet, .tar)")

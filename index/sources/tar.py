"""Source: webdataset and img2dataset tar shards, streamed and never extracted."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, Self

from index.errors import DataError
from index.sources import files
from index.sources.base import (
    Item,
    Partition,
    SourceOptions,
    fingerprint,
    partition_key,
)
from index.sources.places import Place, place
from index.sources.retries import Retries, may_pass
from index.sources.sidecars import (
    MOST_BYTES,
    SUFFIXES,
    Sidecar,
    Sidecars,
    beside,
    long_key,
    read_sidecars,
)

KIND = "tar"
_MEMBERS_A_PARTITION = 512
# What tarfile lets through when the numbers of a header lie.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, MemoryError, OSError)

# One image member: its name, its key, the offset and length of its bytes, its side files, and the
# reason why it cannot be read, if any.
Entry = tuple[str, str, int, int, tuple[Sidecar, ...], str]


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept uncompressed tars; their members can be read again without extraction."""
    return path.suffix.lower() == ".tar"


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """List a shard's headers once and cut its image members into partitions."""
    stamp = [fingerprint(file) for file in (path, path.with_suffix(".parquet")) if file.is_file()]
    entries = _entries(path)
    for start in range(0, len(entries), _MEMBERS_A_PARTITION):
        chunk = tuple(entries[start : start + _MEMBERS_A_PARTITION])
        yield Partition(partition_key(KIND, stamp, start), KIND, str(path), chunk, len(chunk))


def read(partition: Partition) -> Iterator[Item]:
    """Read each image member, with what shares its key as metadata.

    That is its row in the Parquet file beside the shard, as img2dataset writes it, and the `.json`
    and `.txt` members of the shard itself, which go before.
    """
    table = beside(place(partition.container), {entry[1] for entry in partition.entries})
    retries = Retries()
    with _Shard(place(partition.container)) as shard:

        def read_range(offset: int, length: int) -> bytes:
            return retries(partial(shard.range, offset, length))

        for name, key, offset, length, sidecars, reason in partition.entries:
            item = Item(f"{partition.container}#{name}", partition.container, offset, length)
            if reason or length > files.MAX_BYTES:
                yield replace(item, error=reason or files.too_large(length))
                continue
            try:
                data = read_range(offset, length)
                if len(data) != length:
                    yield replace(item, error="truncated tar member")
                    continue
                metadata = table(key) | read_sidecars(read_range, sidecars)
            except OSError as error:
                if not may_pass(error):  # the shard is gone
                    raise
                yield replace(item, error=f"cannot be read: {error.strerror}", transient=True)
                continue
            yield replace(item, data=data, metadata=metadata)


def fetch(container: str, places: Sequence[tuple[int, int]], _: str = "") -> Iterator[bytes]:
    """Read members again by offset and length: a tar is a file of byte ranges."""
    return files.fetch(container, places)


def _entries(path: Place) -> list[Entry]:
    images: dict[str, tuple[str, int, int, str]] = {}
    sidecars = Sidecars()
    damage = None
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
            try:
                for member in shard:
                    if member.size < 0:  # tarfile would step back and list it again, for ever
                        raise tarfile.ReadError("negative size")
                    _list_member(member, images, sidecars)
                damage = _unread(path, shard.offset)
            except _DAMAGE as error:  # what stands before it is whole
                damage = f"the tar is damaged at byte {shard.offset}: {error}"
    except _DAMAGE as error:
        raise DataError(f"not a readable tar: {path} ({error}); remove it or mend it") from error
    beside_image = sidecars.by_image({key for key, *_ in images.values()})
    entries: list[Entry] = [
        (name, key, at, size, beside_image[key], reason)
        for name, (key, at, size, reason) in images.items()
    ]
    return [*entries, ("", "", 0, 0, (), damage)] if damage else entries


def _list_member(
    member: tarfile.TarInfo,
    images: dict[str, tuple[str, int, int, str]],
    sidecars: Sidecars,
) -> None:
    name = os.fsencode(member.name).decode("utf-8", "backslashreplace")
    suffix = PurePosixPath(name).suffix.lower()
    key = long_key(name)
    plain = member.isreg() and not member.issparse()
    if suffix in files.SUFFIXES:
        if name in images:  # a tar may hold a name twice; a uri stands for one content
            name = f"{name}@{member.offset}"
        # Links and devices name things outside the shard.
        reason = "" if plain else "not a regular file"
        images[name] = (key, member.offset_data, member.size, reason)
    elif plain and suffix in SUFFIXES and member.size <= MOST_BYTES:
        sidecars.add(key + suffix, member.offset_data, member.size)


def _unread(path: Place, offset: int) -> str | None:
    """Tarfile ends without a word at a damaged header; the true end is zeros or nothing."""
    with path.open("rb") as file:
        header = _range(file, offset, tarfile.BLOCKSIZE)
    return f"the tar is damaged at byte {offset}: what follows is not read" if any(header) else None


class _Shard:
    """A shard that is opened when it is read, and anew after an error."""

    def __init__(self, path: Place) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def range(self, offset: int, length: int) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb")
        try:
            return _range(self._file, offset, length)
        except OSError:
            self._close()
            raise

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


def _range(shard: Any, offset: int, length: int) -> bytes:
    shard.seek(offset)
    data: bytes = shard.read(length)
    return data

"""Source: webdataset and img2dataset tar shards, streamed and never extracted."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from index.errors import DataError
from index.sources import files
from index.sources.base import Item, Partition, fingerprint, partition_key

KIND = "tar"
_MOST_SIDECAR_BYTES = 1024 * 1024
_MEMBERS_A_PARTITION = 512

# One image member: its name, the offset and length of its bytes, and its side files.
Entry = tuple[str, int, int, tuple[tuple[str, int, int], ...]]


def matches(path: Path) -> bool:
    """Accept uncompressed tars; their members can be read again without extraction."""
    return path.suffix.lower() == ".tar"


def partitions(path: Path) -> Iterator[Partition]:
    """List a shard's headers once and cut its image members into partitions."""
    stamp = fingerprint(path)
    entries = _entries(path)
    for start in range(0, len(entries), _MEMBERS_A_PARTITION):
        chunk = tuple(entries[start : start + _MEMBERS_A_PARTITION])
        yield Partition(partition_key(KIND, stamp, start), KIND, str(path), chunk, len(chunk))


def read(partition: Partition) -> Iterator[Item]:
    """Read each image member with the `.json` and `.txt` that share its key as metadata."""
    with open(partition.container, "rb") as shard:
        for name, offset, length, sidecars in partition.entries:
            uri = f"{partition.container}#{name}"
            if length > files.MAX_BYTES:
                yield Item(uri, partition.container, offset, length, error="too large")
                continue
            data = _range(shard, offset, length)
            if len(data) != length:
                yield Item(uri, partition.container, offset, length, error="truncated tar member")
                continue
            metadata = _metadata(shard, sidecars)
            yield Item(uri, partition.container, offset, length, data, metadata=metadata)


def fetch(container: str, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Read members again by offset and length: a tar is a file of byte ranges."""
    return files.fetch(container, places)


def _entries(path: Path) -> list[Entry]:
    images: list[tuple[str, str, int, int]] = []
    sidecars: dict[str, list[tuple[str, int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if not member.isreg():  # links and devices name things outside the shard
                    continue
                name = os.fsencode(member.name).decode("utf-8", "backslashreplace")
                suffix = PurePosixPath(name).suffix.lower()
                key = name[: len(name) - len(suffix)] if suffix else name
                if suffix in files.SUFFIXES:
                    images.append((key, name, member.offset_data, member.size))
                elif suffix in (".json", ".txt") and member.size <= _MOST_SIDECAR_BYTES:
                    place = (suffix, member.offset_data, member.size)
                    sidecars.setdefault(key, []).append(place)
    except tarfile.TarError as error:
        raise DataError(f"not a readable tar: {path} ({error}); remove it or mend it") from error
    return [(name, at, size, tuple(sidecars.get(key, ()))) for key, name, at, size in images]


def _metadata(shard: Any, sidecars: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for suffix, offset, length in sidecars:
        text = _range(shard, offset, length).decode("utf-8", "replace")
        if suffix == ".txt":
            metadata["caption"] = text.strip()
            continue
        try:
            fields = json.loads(text)
        except ValueError:
            metadata["json_error"] = "not valid JSON"
            continue
        metadata.update(fields if isinstance(fields, dict) else {"json": fields})
    return metadata


def _range(shard: Any, offset: int, length: int) -> bytes:
    shard.seek(offset)
    data: bytes = shard.read(length)
    return data

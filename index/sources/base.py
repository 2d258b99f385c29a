"""The types that sources hand to the rest of the index."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from index.decoding import FORMATS
from index.sources.places import Place, Url


@dataclass(frozen=True)
class Item:
    """One image of a source: its bytes, or the reason why there are none, which may pass.

    `kind` says what reads it again where that is not its partition's kind.
    """

    uri: str
    container: str
    position: int
    length: int
    data: bytes = b""
    error: str = ""
    transient: bool = False
    kind: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """A slice of a source that one worker reads; `key` changes when its content changes.

    `entries` says what stands in it, in values that JSON holds: it may wait on disk for its turn.
    `out_of_reach`: the container cannot be opened for the moment, and what it held is not gone.
    """

    key: str
    kind: str
    container: str
    entries: tuple[Any, ...]
    count: int
    out_of_reach: bool = False


@dataclass(frozen=True)
class SourceOptions:
    """What a person may say about the sources of a build: a column of Parquet files, formats.

    `left_aside` counts, by kind, what a listing of folders did not look at.
    """

    image_column: str | None = None
    formats: tuple[str, ...] = FORMATS
    left_aside: Counter[str] = field(default_factory=Counter, compare=False)


@dataclass(frozen=True)
class SourceKind:
    """The four functions that a kind of source offers.

    `kind` of a partition and of a location may carry what `fetch` has to know to read again, after
    a colon: it is the last argument of `fetch`, and empty where nothing stands there.
    """

    matches: Callable[[Place, SourceOptions], bool]
    partitions: Callable[[Place, SourceOptions], Iterator[Partition]]
    read: Callable[[Partition], Iterator[Item]]
    fetch: Callable[[str, Sequence[tuple[int, int]], str], Iterator[bytes]]


def partition_key(*facts: object) -> str:
    """Return a stable digest of what identifies a partition's content."""
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:32]


def fingerprint(path: Place) -> tuple[str, int, int | str]:
    """Return (path, size, modification time in ns): changes when a shard is rewritten."""
    if isinstance(path, Url):
        return path.facts()
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def metadata_json(item: Item) -> str | None:
    """Return what came with an image as valid JSON text, or None where nothing did."""
    if not item.metadata:
        return None
    try:
        return json.dumps(plain(item.metadata), default=str, allow_nan=False)
    except RecursionError:
        return json.dumps({"json_error": "nested too deeply"})


def carried(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a row travels along with its image: all but nulls and bytes.

    Binary values stay in the file, wherever in a column they stand: they are images or features,
    not facts about them. A null inside a struct or a list stays, as does all that stands beside it.
    """
    kept = {name: _without_bytes(value) for name, value in fields.items()}
    return {name: value for name, value in kept.items() if value is not None}


def _without_bytes(value: Any) -> Any:
    """Return None for bytes, and for what holds nothing else."""
    if _is_binary(value):
        return None
    if isinstance(value, dict):
        parts = {name: (part, _without_bytes(part)) for name, part in value.items()}
        kept = {name: new for name, (old, new) in parts.items() if old is None or new is not None}
        return kept if kept or not value else None
    if isinstance(value, (list, tuple)):
        pairs = [(part, _without_bytes(part)) for part in value]
        items = [new for old, new in pairs if old is None or new is not None]
        return items if items or not value else None
    return value


def _is_binary(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def plain(value: Any) -> Any:
    """Replace what JSON has no word for: NaN becomes null, a lone surrogate `?`, a key its text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {plain(str(key)): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value

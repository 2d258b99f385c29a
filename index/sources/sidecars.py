"""What lies beside the images of a shard: side files of the same key, and img2dataset's table."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import duckdb

from index.errors import DataError
from index.sources import parquet
from index.sources.base import carried
from index.sources.places import Place
from index.sources.retries import TransientError, may_pass

SUFFIXES = (".json", ".txt")
MOST_BYTES = 1024 * 1024
# More images than this do not share their side files: their names have a dot (clip.v1_000001.jpg).
_MOST_SHARING = 16

# What follows the key in a side file's name, and the offset and length of its bytes.
Sidecar = tuple[str, int, int]


def long_key(name: str) -> str:
    """Return a member's name up to the last dot."""
    suffix = PurePosixPath(name).suffix
    return name[: len(name) - len(suffix)] if suffix else name


def short_key(name: str) -> str:
    """Return a member's name up to the first dot behind its folder, the key of webdataset."""
    folder, slash, base = name.rpartition("/")
    key = base.partition(".")[0]
    return folder + slash + key if key else long_key(name)


class Sidecars:
    """The side files of a shard, and which image each goes with."""

    def __init__(self) -> None:
        """Start with none."""
        self._found: dict[str, list[Sidecar]] = {}  # by their long keys

    def add(self, name: str, offset: int, length: int) -> None:
        """Add a member that is a side file."""
        key = long_key(name)
        self._found.setdefault(key, []).append((name[len(key) :], offset, length))

    def by_image(self, images: set[str]) -> dict[str, tuple[Sidecar, ...]]:
        """Return the side files of each of these images, which are all of the shard, by long keys.

        Those that differ from it in the last suffix only go before those that webdataset would
        give it, which share its name up to the first dot. `p.1.json` beside `p.1.jpg` is that
        image's alone. Where many images share what stands before the dot, it is no key, and
        nobody's side files are given to another.
        """
        shared = self._by_short_key(images)

        def of(image: str) -> tuple[Sidecar, ...]:
            short = short_key(image)
            own = self._found.get(image, []) if image != short else []
            return tuple(own or shared.get(short, ()))

        return {image: of(image) for image in images}

    def _by_short_key(self, images: set[str]) -> dict[str, list[Sidecar]]:
        shared: dict[str, list[Sidecar]] = {}
        sharing = Counter(short_key(image) for image in images)
        # The shortest names last: `1.json` says more of `1.jpg` than `1.more.json` does.
        for long in sorted(self._found, key=len, reverse=True):
            short = short_key(long)
            if sharing[short] <= _MOST_SHARING and (long == short or long not in images):
                shared.setdefault(short, []).extend(
                    (long[len(short) :] + suffix, offset, length)
                    for suffix, offset, length in self._found[long]
                )
        return shared


def read_sidecars(
    read_range: Callable[[int, int], bytes], sidecars: Sequence[Sidecar]
) -> dict[str, Any]:
    """Return what side files say: the fields of a JSON object, and a text by its middle name."""
    metadata: dict[str, Any] = {}
    for suffix, offset, length in sidecars:
        text = read_range(offset, length).decode("utf-8", "replace")
        if suffix.endswith(".txt"):
            metadata[suffix[1 : -len(".txt")] or "caption"] = text.strip()
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            metadata["json_error"] = "not valid JSON"
            continue
        metadata.update(fields if isinstance(fields, dict) else {"json": fields})
    return metadata


def beside(path: Place, keys: set[str]) -> Callable[[str], dict[str, Any]]:
    """Look these keys up in the Parquet file beside a shard; {} where it has no such row.

    What is returned raises TransientError where the table cannot be read for the moment.
    """
    table = path.with_suffix(".parquet")
    rows: dict[str, dict[str, Any]] = {}
    try:
        if not table.is_file():
            return lambda _: {}
        if "key" not in dict(parquet.schema(table)):
            return lambda _: {}
        # A member in a folder of the shard has its folder in its key.
        wanted = list({name for key in keys for name in _names(key)})
        for row in parquet.select(table, "key::VARCHAR IN (SELECT unnest(?))", [wanted]):
            rows[str(row["key"])] = carried(row)
    except (DataError, duckdb.Error, OSError) as error:
        if may_pass(error):
            return partial(_not_now, table.name)
        return lambda _: {"parquet_error": f"not readable: {table.name}"}
    return lambda key: next((rows[name] for name in _names(key) if name in rows), {})


def _not_now(table: str, key: str) -> dict[str, Any]:
    raise TransientError(errno.EIO, f"{table} beside the shard is out of reach")


def _names(key: str) -> tuple[str, ...]:
    short = short_key(key)
    return key, PurePosixPath(key).name, short, PurePosixPath(short).name

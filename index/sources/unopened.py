"""What stands for a container that is there but cannot be opened: one failure, with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb

from index.errors import DataError
from index.sources.base import Item, Partition, SourceOptions, fingerprint, partition_key, plain
from index.sources.places import Place
from index.sources.retries import may_pass

KIND = "unopened"


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept nothing: no source is meant to be one."""
    return False


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """Yield nothing."""
    return iter(())


def partition(path: Place, error: DataError) -> Partition:
    """Return what takes the place of a container's partitions; its key changes with the file.

    So the next build neither repeats the failure nor misses that the container was mended.
    """
    try:
        stamp: tuple[str, int, int | str] = fingerprint(path)
    except OSError:
        stamp = (str(path), -1, 0)
    text = " ".join(plain(str(error)).replace(f": {path}", "").replace(str(path), "it").split())
    passing = passes(error)
    key = partition_key(KIND, stamp, text)
    return Partition(key, KIND, str(path), (text, passing), 1, out_of_reach=passing)


def passes(error: DataError) -> bool:
    """Tell whether what kept a container from being opened may be over at the next attempt.

    It may, unless the file was read and found malformed: rights, memory and the number of open
    files are this machine's, and say nothing of the images.
    """
    cause = error.__cause__
    if isinstance(cause, (OSError, MemoryError, duckdb.IOException, duckdb.OutOfMemoryException)):
        return True
    return isinstance(cause, Exception) and may_pass(cause)


def read(partition: Partition) -> Iterator[Item]:
    """Yield the failure."""
    reason, passing = partition.entries
    name = partition.container
    yield Item(name, name, 0, 0, error=reason, transient=passing)


def fetch(container: str, places: Sequence[tuple[int, int]], _: str = "") -> Iterator[bytes]:
    """Refuse: no image was ever read from it."""
    raise DataError(f"{container} could not be opened when it was indexed")

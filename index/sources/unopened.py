"""What stands for a container that is there but cannot be opened: one failure, with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from index.errors import DataError
from index.sources.base import Item, Partition, SourceOptions, fingerprint, partition_key, plain
from index.sources.places import Place
from index.sources.retries import may_be_over

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
    passing = may_be_over(error)
    key = partition_key(KIND, stamp, text)
    return Partition(key, KIND, str(path), (text, passing), 1, out_of_reach=passing)


def read(partition: Partition) -> Iterator[Item]:
    """Yield the failure."""
    reason, passing = partition.entries
    name = partition.container
    yield Item(name, name, 0, 0, error=reason, transient=passing)


def fetch(container: str, places: Sequence[tuple[int, int]], _: str = "") -> Iterator[bytes]:
    """Refuse: no image was ever read from it."""
    raise DataError(f"{container} could not be opened when it was indexed")

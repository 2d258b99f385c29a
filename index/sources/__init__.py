"""Where images come from. A source is one module and one line in `_KINDS`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from index.decoding import FORMATS
from index.errors import DataError, UsageError
from index.sources import files, lists, parquet, tar, unopened
from index.sources.base import Item, Partition, SourceKind, SourceOptions, metadata_json
from index.sources.places import DOTTED, Place, Url, is_url
from index.sources.retries import may_be_over
from index.sources.tree import files_below

__all__ = [
    "Item",
    "Partition",
    "SourceOptions",
    "check",
    "fetch",
    "instead_of_images",
    "metadata_json",
    "partitions",
    "read",
]

Found = TypeVar("Found")
_KNOWN = "a folder, image, .parquet, .tar, a list of paths (.csv, .tsv, .jsonl, .txt), or a glob"
# A Parquet file without images is a list of paths where it has such a column.
_KINDS: dict[str, SourceKind] = {
    "files": SourceKind(files.matches, files.partitions, files.read, files.fetch),
    "list": SourceKind(lists.matches, lists.partitions, lists.read, lists.fetch),
    "parquet": SourceKind(parquet.matches, parquet.partitions, parquet.read, parquet.fetch),
    "tar": SourceKind(tar.matches, tar.partitions, tar.read, tar.fetch),
    "unopened": SourceKind(unopened.matches, unopened.partitions, unopened.read, unopened.fetch),
}


def partitions(sources: Sequence[str], options: SourceOptions | None = None) -> Iterator[Partition]:
    """Cut sources (folder, image, *.parquet, *.tar, list, or a glob) into partitions.

    Of several files, one that is there but cannot be opened becomes a partition with one failure.

    Raises:
        DataError: a source that does not exist or that no kind of source opens, a folder that
            cannot be listed, or not a single container that can be opened.
    """
    options = options or SourceOptions()
    paths = list(dict.fromkeys(path for source in sources for path in _expand(source)))
    # Other formats are other results: what is done with some is not done with all.
    few = "" if options.formats == FORMATS else ":" + ",".join(options.formats)
    opened, failed = 0, 0
    for path in paths:
        kind, begun = _KINDS[_kind_of(path, options)], False
        try:
            for part in _reached(str(path), kind.partitions(path, options)):
                begun = True
                yield replace(part, key=part.key + few)
            opened += 1
        except DataError as error:
            failed += 1
            if len(paths) == 1 or not _fails_alone(path, error, begun):
                raise
            if failed == len(paths) and not opened:
                raise DataError(f"none of {failed} sources can be opened: {error}") from error
            part = unopened.partition(path, error)
            yield replace(part, key=part.key + few)


def _fails_alone(path: Place, error: DataError, begun: bool) -> bool:
    """Tell whether the other containers may be read without this one.

    Not without a folder or the rest of a list that may be there at the next attempt: what they hold
    would count as gone. A file that went away meanwhile says nothing either.
    """
    if isinstance(error.__cause__, FileNotFoundError) or path.is_dir():
        return False
    return not (begun and may_be_over(error))


def check(sources: Sequence[str], options: SourceOptions | None = None) -> None:
    """Refuse a source that does not exist or that nothing opens, before any work is done.

    Raises:
        DataError: it names the source and what could stand there.
        UsageError: an option that none of the sources takes.
    """
    options = options or SourceOptions()
    found = {path: _kind_of(path, options) for source in sources for path in _expand(source)}
    have_columns = (
        kind == "parquet" or (kind == "list" and path.suffix.lower() != ".txt")
        for path, kind in found.items()
    )
    if options.image_column and not any(have_columns):
        raise UsageError(
            "--image-column is for Parquet files and lists with columns: none of the sources is one"
        )


def instead_of_images(sources: Sequence[str]) -> str:
    """Say what a folder without images holds that is read when it is given by a glob, if any."""
    for source in sources:
        folder = Path(source).expanduser()
        if is_url(source) or not folder.is_dir():
            continue
        for suffix in (".tar", *parquet.SUFFIXES):
            found = next(iter(files_below(str(folder), lambda name: name.endswith(suffix))), None)  # noqa: B023
            if found:
                between = "" if Path(found).parent == folder else "**/"
                return f"{source} holds {suffix} files: give '{folder}/{between}*{suffix}'"
    return ""


def read(partition: Partition) -> Iterator[Item]:
    """Read the bytes of every image of a partition, in order."""
    found = _KINDS[partition.kind.partition(":")[0]].read(partition)
    return _reached(partition.container, found)


def fetch(kind: str, container: str, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Read images again by their (position, length) in a container, in the order given.

    Raises:
        DataError: the container is gone or shorter than the catalog remembers.
    """
    name, _, argument = kind.partition(":")
    return _KINDS[name].fetch(container, places, argument)


def _reached(container: str, found: Iterator[Found]) -> Iterator[Found]:
    """A container that is gone says nothing of its images: it ends the build, not their chances."""
    try:
        yield from found
    except OSError as error:
        raise DataError(
            f"cannot read {container} ({error.strerror}): run the same command again"
        ) from error


def _expand(source: str) -> Sequence[Place]:
    if is_url(source):
        return _expand_url(Url(source))
    path = Path(source).expanduser()
    if path.exists():
        return [path.absolute()]
    found = sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise DataError(f"no such source: {source} ({_KNOWN})")
    meant = [path for name in found if not _is_of_shard(path := Path(name).absolute())]
    if not meant:
        raise DataError(
            f"{source} finds only what img2dataset writes beside its shards: give the shards, "
            f"such as '{path.parent}/*.tar'"
        )
    return meant


def _is_of_shard(path: Path) -> bool:
    """Tell whether a file that a glob found tells of the shard beside it, and is no source.

    The rows of such a table are joined to the shard's images when that is read.
    """
    if path.name.endswith("_stats.json"):
        return True
    if path.suffix.lower() not in parquet.SUFFIXES or not path.with_suffix(".tar").is_file():
        return False
    try:
        return parquet.find_image_column(parquet.schema(path)) is None
    except DataError:  # said beside each image of the shard
        return True


def _expand_url(url: Url) -> Sequence[Url]:
    if url.has_dots:
        raise DataError(f"{url} is not read: {DOTTED}")
    try:
        found = (
            url.matching() if "*" in str(url) else [url] if url.is_dir() or url.is_file() else []
        )
    except OSError as error:
        raise DataError(f"cannot open {url} ({error.strerror}): try again") from error
    if not found:
        raise DataError(f"no such source: {url} ({_KNOWN}; of HTTP, a folder ends in /)")
    return found


def _kind_of(path: Place, options: SourceOptions) -> str:
    if os.fsencode(str(path)).decode("utf-8", "replace") != str(path):
        raise DataError(f"the path of a source is not UTF-8: {ascii(str(path))}; rename it")
    if isinstance(path, Path) and not (
        path.is_dir() or path.is_file()
    ):  # a pipe or device would be read for ever
        raise DataError(f"neither a folder nor a regular file: {path}")
    for name, kind in _KINDS.items():
        if kind.matches(path, options):
            return name
    raise DataError(f"not a source that kdcurate reads: {path} ({_KNOWN})")

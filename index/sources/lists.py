"""Source: lists of image paths: CSV, TSV, JSONL, TXT, and Parquet without image bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from index.errors import DataError
from index.sources import files, parquet
from index.sources.base import Item, Partition, SourceOptions, carried, partition_key, plain
from index.sources.places import DOTTED, Place, Url, is_url, place
from index.sources.retries import Retries
from index.sources.rows import Fields, path_column, rows

KIND = "list"
_TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")

# One listed image: its path, size and modification time, what stands beside it, and the reason
# why it is no path, if any.
Entry = tuple[str, int, int | str, dict[str, Any], str]


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept the suffix of a text list, and a Parquet file with paths in place of images."""
    suffix = path.suffix.lower()
    if suffix in _TEXT_SUFFIXES:
        return True
    if suffix not in parquet.SUFFIXES:
        return False
    if path.with_suffix(".tar").is_file():  # img2dataset's table of that shard
        return False
    try:
        columns = parquet.schema(path)
    except DataError:  # the source of Parquet files says what is wrong with it
        return False
    names = [name for name, kind in columns if kind == "VARCHAR"]
    named = options.image_column or ""
    return not parquet.find_image_column(columns, named) and path_column(names, named) is not None


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """Cut a list into partitions of about 256 rows, where the hash of a file's name says so.

    Like a folder's, a partition's key holds the size and time of every local file, and a row that
    is added changes one partition only.
    """
    # The lines of a text have no columns.
    named = options.image_column or "" if path.suffix.lower() != ".txt" else ""
    chunk: list[Entry] = []
    for number, fields in enumerate(rows(path, named)):
        entry = _entry(path, number, fields, named)
        chunk.append(entry)
        if files.ends_partition(place(entry[0]).name, len(chunk)):
            yield _partition(path, chunk)
            chunk = []
    if chunk:
        yield _partition(path, chunk)


def read(partition: Partition) -> Iterator[Item]:
    """Read each listed file; every other column travels along as metadata."""
    retries = Retries()
    for name, size, _, metadata, reason in json.loads(partition.entries[0]):
        if reason:
            yield Item(name, partition.container, 0, 0, error=reason)
        else:
            yield files.read_file(name, size, metadata, retries)


def fetch(container: str, places: Sequence[tuple[int, int]], _: str = "") -> Iterator[bytes]:
    """Read a listed file again: the list itself is no longer needed."""
    return files.fetch(container, places)


def _entry(source: Place, number: int, fields: Fields, named: str) -> Entry:
    row = f"{source}#{number}"
    if isinstance(fields, str):
        return row, 0, 0, {}, fields
    column = path_column(list(fields), named)
    value = fields[column] if column is not None else None
    if not isinstance(value, str) or not value.strip():
        return row, 0, 0, {}, "no path in this row"
    if not _may_be_path(value):
        return row, 0, 0, {}, "no path can hold these characters"
    others = {name: part for name, part in fields.items() if name != column and part != ""}
    try:
        metadata = plain(carried(others))
    except RecursionError:
        return row, 0, 0, {}, "nested too deeply"
    where = place(value.strip()) if is_url(value.strip()) else source.parent / value.strip()
    if isinstance(where, Url) and where.has_dots:
        return row, 0, 0, {}, DOTTED
    if isinstance(where, Url):  # asking for each would take longer than reading it
        return str(where), -1, "", metadata, ""
    return *files.listed(where), metadata, ""


def _may_be_path(value: str) -> bool:
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeError:  # half of a surrogate pair
        return False


def _partition(source: Place, chunk: list[Entry]) -> Partition:
    text = json.dumps(chunk, default=str)
    return Partition(partition_key(KIND, text), KIND, str(source), (text,), len(chunk))

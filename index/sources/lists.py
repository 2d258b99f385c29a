"""Source: lists of image paths: CSV, TSV, JSONL, TXT, and Parquet without image bytes."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from index.catalog import literal
from index.errors import DataError
from index.sources import files, parquet
from index.sources.base import Item, Partition, SourceOptions, carried, partition_key, plain
from index.sources.places import Place, Url, is_url, place, said_by, tables
from index.sources.retries import Retries

KIND = "list"
# In this order: a list with paths and urls is read from the paths.
PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image_path"),
    *("img_path", "image", "img", "url"),
)
_TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_MOST_LINE_BYTES = 1024 * 1024
_DELIMITERS = ",;\t|"
_ROWS_AT_ONCE = 512

# One listed image: its path, size and modification time, what stands beside it, and the reason
# why it is no path, if any.
Entry = tuple[str, int, int | str, dict[str, Any], str]
Fields = Mapping[str, Any] | str  # a row, or why it is none


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept the suffix of a text list, and a Parquet file with paths in place of images."""
    suffix = path.suffix.lower()
    if suffix in _TEXT_SUFFIXES:
        return True
    if suffix not in parquet.SUFFIXES or options.image_column:
        return False
    if path.with_suffix(".tar").is_file():  # img2dataset's table of that shard
        return False
    try:
        columns = parquet.schema(path)
    except DataError:  # the source of Parquet files says what is wrong with it
        return False
    names = [name for name, kind in columns if kind == "VARCHAR"]
    return not parquet.find_image_column(columns) and _path_column(names) is not None


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """Cut a list into partitions of about 256 rows, where the hash of a file's name says so.

    Like a folder's, a partition's key holds the size and time of every local file, and a row that
    is added changes one partition only.
    """
    chunk: list[Entry] = []
    for number, fields in enumerate(_rows(path)):
        entry = _entry(path, number, fields)
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


def _entry(source: Place, number: int, fields: Fields) -> Entry:
    row = f"{source}#{number}"
    if isinstance(fields, str):
        return row, 0, 0, {}, fields
    column = _path_column(list(fields))
    value = fields[column] if column is not None else None
    if not isinstance(value, str) or not value.strip():
        return row, 0, 0, {}, "no path in this row"
    if not _may_be_path(value):
        return row, 0, 0, {}, "no path can hold these characters"
    metadata = carried(
        {name: part for name, part in fields.items() if name != column and part != ""}
    )
    where = place(value.strip()) if is_url(value.strip()) else source.parent / value.strip()
    if isinstance(where, Url):  # asking for each would take longer than reading it
        return str(where), -1, "", plain(metadata), ""
    return *files.listed(where), plain(metadata), ""


def _may_be_path(value: str) -> bool:
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeError:  # half of a surrogate pair
        return False


def _partition(source: Place, chunk: list[Entry]) -> Partition:
    text = json.dumps(chunk, default=str)
    return Partition(partition_key(KIND, text), KIND, str(source), (text,), len(chunk))


def _path_column(names: Sequence[str]) -> str | None:
    lowered = {name.strip().lower(): name for name in reversed(names)}
    return next((lowered[known] for known in PATH_COLUMNS if known in lowered), None)


def _rows(path: Place) -> Iterator[Fields]:
    match path.suffix.lower():
        case ".txt":
            return ({"path": line} for _, line in _lines(path))
        case ".jsonl" | ".ndjson":
            return _json_rows(path)
        case ".csv" | ".tsv":
            return _csv_rows(path)
        case _:
            return _query_rows(path, parquet.FILE)


def _lines(path: Place) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their number from 0."""
    number = 0
    with path.open("rb") as file:
        while line := file.readline(_MOST_LINE_BYTES):
            if len(line) == _MOST_LINE_BYTES:
                raise DataError(f"line {number + 1} of {path} is too long: it is no list of paths")
            encoding = "utf-8-sig" if number == 0 else "utf-8"
            text = line.decode(encoding, "surrogateescape").rstrip("\r\n")
            if text.strip():
                yield number, text
            number += 1


def _json_rows(path: Place) -> Iterator[Fields]:
    any_path = False
    for _, line in _lines(path):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            yield "not valid JSON"
            continue
        if not isinstance(fields, dict):
            yield "not a JSON object"
            continue
        any_path = any_path or _path_column(list(fields)) is not None
        if not any_path:
            raise _no_paths(path, list(fields))
        yield fields


def _csv_rows(path: Place) -> Iterator[Fields]:
    _, header = next(_lines(path), (0, ""))
    delimiters = "\t" if path.suffix.lower() == ".tsv" else _DELIMITERS
    for delimiter in delimiters:
        names = next(csv.reader([header], delimiter=delimiter))
        if _path_column(names) is not None:
            break
    else:
        raise _no_paths(path, next(csv.reader([header], delimiter=delimiters[0]), []))
    unique = [name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names)]
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in unique)
    # Every value is text, as it was written: 007 stays 007.
    table = (
        "read_csv(?, auto_detect = false, header = true, parallel = false, null_padding = true, "
        f"delim = ?, quote = '\"', escape = '\"', columns = {{{columns}}})"
    )
    return _query_rows(path, table, delimiter)


def _query_rows(path: Place, table: str, *parameters: str) -> Iterator[Fields]:
    with tables(path) as (connection, file):
        connection.execute("SET threads = 1")  # the order of the rows, in bounded memory
        try:
            cursor = connection.execute(f"FROM {table}", [file, *parameters])
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                for row in rows:
                    yield dict(zip(names, row, strict=True))
        except duckdb.Error as error:
            said = said_by(error)[:120]
            raise DataError(f"not a readable list of paths: {path} ({said}); mend it") from error


def _no_paths(path: Place, names: Sequence[str]) -> DataError:
    has = ", ".join(names)[:200] or "empty"
    known = ", ".join(PATH_COLUMNS)
    return DataError(f"{path} has no column of paths ({has}): name it one of {known}")

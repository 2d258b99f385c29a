"""Source: Parquet files with an image column, as bytes or as struct{bytes, path}."""

from __future__ import annotations

import errno
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import duckdb

from index.catalog.rows import one
from index.errors import DataError
from index.quoting import identifier
from index.sources import files
from index.sources.base import (
    Item,
    Partition,
    SourceOptions,
    carried,
    fingerprint,
    partition_key,
)
from index.sources.places import FILE, NUMBERED, Place, not_fetched, place, said_by, tables
from index.sources.referenced import KIND as REFERENCED
from index.sources.referenced import referenced
from index.sources.retries import Retries, may_pass

KIND = "parquet"
SUFFIXES = (".parquet", ".pq")
_ROWS_A_PARTITION = 512
_IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "image_bytes", "data")


class ImageColumn(NamedTuple):
    """A column of images: its name, and the SQL expression that yields their bytes.

    `may_refer`: it also has a path, where the image of a row without bytes lies.
    """

    name: str
    bytes: str
    may_refer: bool = False


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept *.parquet."""
    return path.suffix.lower() in SUFFIXES


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """Cut a file into ranges of rows; an image column that was named is part of their kind."""
    rows = _row_count(path)
    stamp = fingerprint(path)
    column = image_column(path, options.image_column or "")
    elsewhere = referenced(path, column.name) if column.may_refer else []
    kind = f"{KIND}:{options.image_column}" if options.image_column else KIND
    for start in range(0, rows, _ROWS_A_PARTITION):
        stop = min(start + _ROWS_A_PARTITION, rows)
        first, end = (
            bisect_left(elsewhere, row, key=lambda entry: entry[0]) for row in (start, stop)
        )
        listed = elsewhere[first:end]
        key = partition_key(kind, stamp, start, *([listed] if listed else []))
        yield Partition(key, kind, str(path), (start, stop, column.name, listed), stop - start)


def read(partition: Partition) -> Iterator[Item]:
    """Read a range of rows; every other column travels along as metadata."""
    start, stop, column, listed = partition.entries
    elsewhere = {row: entry for row, *entry in listed}
    path = partition.container
    retries, attempt = Retries(), 0
    while start < stop:
        try:
            for row, item in _items(path, column, start, stop):
                if item.error and row in elsewhere:
                    yield _read_elsewhere(item, elsewhere[row], retries)
                else:
                    yield item
                start = row + 1
            return
        except duckdb.Error as error:
            if retries.waited(error, attempt):
                attempt += 1
                continue
            if not_fetched(error) and not may_pass(error):  # the file is gone
                raise OSError(errno.EIO, "it cannot be fetched", path) from error
            # A damaged page, unless it may pass; what stands before it is whole.
            what = "cannot be read" if may_pass(error) else "damaged Parquet"
            reason = f"{what}: {said_by(error)}"[:200]
            for row in range(start, stop):
                yield Item(f"{path}#{row}", path, row, 0, error=reason, transient=may_pass(error))
            return


def _items(path: str, column: str, start: int, stop: int) -> Iterator[tuple[int, Item]]:
    quoted = identifier(column)
    with tables(place(path)) as (connection, file):
        cursor = connection.execute(
            f"SELECT {quoted}, * EXCLUDE (file_row_number, {quoted}), file_row_number "
            f"FROM {NUMBERED} "
            "WHERE file_row_number >= ? AND file_row_number < ? ORDER BY file_row_number",
            [file, start, stop],
        )
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(64):
            for row in rows:
                yield row[-1], _item(path, names, row)


def fetch(container: str, places: Sequence[tuple[int, int]], column: str = "") -> Iterator[bytes]:
    """Read rows again by number, in ascending order of position."""
    positions = [position for position, _ in places]
    image = image_column(place(container), column).bytes
    with tables(place(container)) as (connection, file):
        try:
            rows = connection.execute(
                f"SELECT file_row_number, {image} FROM {NUMBERED} "
                "WHERE file_row_number BETWEEN ? AND ? "
                "AND file_row_number IN (SELECT unnest(?))",  # not the rows that lie between
                [file, min(positions), max(positions), positions],
            ).fetchall()
        except duckdb.Error as error:
            raise DataError(f"cannot read rows of {container}: {files.REMEDY}") from error
    found = dict(rows)
    for position in positions:
        if position not in found:
            raise DataError(f"{container} has no row {position} any more: {files.REMEDY}")
        yield found[position] or b""


def image_column(path: Place, named: str = "") -> ImageColumn:
    """Return the column of image bytes of a file: the one `named`, if any.

    Raises:
        DataError: the file is not Parquet, or has no such column of image bytes.
    """
    found = schema(path)
    if any(name.lower() == "file_row_number" for name, _ in found):
        raise DataError(f"{path} has a column file_row_number, DuckDB's own name: rename it")
    if column := find_image_column(found, named):
        return column
    if named:
        has = ", ".join(name for name, _ in found)
        raise DataError(f"{path} has no column {named} of image bytes: its columns are {has}")
    known = ", ".join(_IMAGE_COLUMNS)
    raise DataError(
        f"{path} has no column of image bytes: name it one of {known}, or give --image-column NAME"
    )


def find_image_column(columns: Sequence[tuple[str, Any]], named: str = "") -> ImageColumn | None:
    """Return the column of image bytes among these (name, type) columns; None if there is none."""
    wanted = (named.lower(),) if named else _IMAGE_COLUMNS
    for name, kind in columns:
        if name.lower() not in wanted:
            continue
        if kind == "BLOB":
            return ImageColumn(name, identifier(name))
        if kind.id == "struct" and dict(kind.children).get("bytes") == "BLOB":
            may_refer = dict(kind.children).get("path") == "VARCHAR"
            return ImageColumn(name, f"{identifier(name)}.bytes", may_refer)
    return None


def select(path: Place, where: str, parameters: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that fulfil a SQL condition, a bounded number at a time."""
    with tables(path) as (connection, file):
        query = f"FROM {FILE} WHERE {where}"
        cursor = connection.execute(query, [file, *parameters])
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(64):
            yield from (dict(zip(names, row, strict=True)) for row in rows)


def schema(path: Place) -> list[tuple[str, Any]]:
    """Return the (name, DuckDB type) of each column.

    Raises:
        DataError: the file is not Parquet.
    """
    with tables(path) as (connection, file):
        try:
            relation = connection.sql(f"FROM {FILE}", params=[file])
            return list(zip(relation.columns, relation.types, strict=True))
        except duckdb.Error as error:
            raise DataError(f"not a readable Parquet file: {path}; mend or remove it") from error


def _row_count(path: Place) -> int:
    with tables(path) as (connection, file):
        try:
            row = one(connection, f"SELECT count(*) FROM {FILE}", [file])
        except duckdb.Error as error:
            raise DataError(f"not a readable Parquet file: {path}; mend or remove it") from error
    return int(row[0]) if row else 0


def _item(path: str, names: list[str], row: tuple[Any, ...]) -> Item:
    image, position = row[0], row[-1]
    data = image["bytes"] if isinstance(image, dict) else image
    uri = f"{path}#{position}"
    others = dict(zip(names[1:-1], row[1:-1], strict=True))
    metadata = carried(others | _beside_bytes(names[0], image, others))
    if data is None:
        why = "no image bytes in this row"
        return Item(uri, path, position, 0, error=why, metadata=metadata)
    if len(data) > files.MAX_BYTES:
        return Item(uri, path, position, len(data), error=files.too_large(len(data)))
    return Item(uri, path, position, len(data), data, metadata=metadata)


def _read_elsewhere(item: Item, entry: Sequence[Any], retries: Retries) -> Item:
    name, size, _, reason = entry
    if reason:
        return replace(item, error=reason)
    return replace(files.read_file(name, size, item.metadata, retries), kind=REFERENCED)


def _beside_bytes(column: str, image: Any, others: Mapping[str, Any]) -> dict[str, Any]:
    """What an image column says beside the bytes: a path is often the only name an image has."""
    if not isinstance(image, dict):
        return {}
    facts = {name: part for name, part in image.items() if name != "bytes" and part is not None}
    lifted = {} if "path" in others or "path" not in facts else {"path": facts.pop("path")}
    return lifted | ({column: facts} if facts else {})

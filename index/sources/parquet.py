"""Source: Parquet files with an image column, as bytes or as struct{bytes, path}."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from index.catalog.rows import one
from index.errors import DataError
from index.sources import files
from index.sources.base import (
    Item,
    Partition,
    SourceOptions,
    fingerprint,
    partition_key,
    travels,
)
from index.sources.places import Place, not_fetched, place, said_by, tables
from index.sources.retries import Retries, may_pass

KIND = "parquet"
SUFFIXES = (".parquet", ".pq")
_ROWS_A_PARTITION = 512
# Hive partitioning would read columns out of folder names such as image=1/.
FILE = "read_parquet(?, hive_partitioning = false)"
_NUMBERED = "read_parquet(?, hive_partitioning = false, file_row_number = true)"
_IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "image_bytes", "data")


def matches(path: Place, options: SourceOptions) -> bool:
    """Accept *.parquet."""
    return path.suffix.lower() in SUFFIXES


def partitions(path: Place, options: SourceOptions) -> Iterator[Partition]:
    """Cut a file into ranges of rows; an image column that was named is part of their kind."""
    rows = _row_count(path)
    stamp = fingerprint(path)
    image = image_column(path, options.image_column or "")
    kind = f"{KIND}:{options.image_column}" if options.image_column else KIND
    for start in range(0, rows, _ROWS_A_PARTITION):
        stop = min(start + _ROWS_A_PARTITION, rows)
        key = partition_key(kind, stamp, start)
        yield Partition(key, kind, str(path), (start, stop, image), stop - start)


def read(partition: Partition) -> Iterator[Item]:
    """Read a range of rows; every other column travels along as metadata."""
    start, stop, image = partition.entries
    path = partition.container
    retries, attempt = Retries(), 0
    while start < stop:
        try:
            for item in _items(path, image, start, stop):
                yield item
                start = item.position + 1
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


def _items(path: str, image: str, start: int, stop: int) -> Iterator[Item]:
    with tables(place(path)) as (connection, file):
        cursor = connection.execute(
            f"SELECT {image} AS kdcurate_image, * EXCLUDE (file_row_number), file_row_number "
            f"FROM {_NUMBERED} "
            "WHERE file_row_number >= ? AND file_row_number < ? ORDER BY file_row_number",
            [file, start, stop],
        )
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(64):
            for row in rows:
                yield _item(path, names, row)


def fetch(container: str, places: Sequence[tuple[int, int]], column: str = "") -> Iterator[bytes]:
    """Read rows again by number, in ascending order of position."""
    positions = [position for position, _ in places]
    image = image_column(place(container), column)
    with tables(place(container)) as (connection, file):
        try:
            rows = connection.execute(
                f"SELECT file_row_number, {image} FROM {_NUMBERED} "
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


def image_column(path: Place, named: str = "") -> str:
    """Return the SQL expression that yields a row's image bytes, from the column `named` if any.

    Raises:
        DataError: the file is not Parquet, or has no such column of image bytes.
    """
    found = schema(path)
    if any(name.lower() == "file_row_number" for name, _ in found):
        raise DataError(f"{path} has a column file_row_number, DuckDB's own name: rename it")
    if expression := image_expression(found, named):
        return expression
    if named:
        has = ", ".join(name for name, _ in found)
        raise DataError(f"{path} has no column {named} of image bytes: its columns are {has}")
    known = ", ".join(_IMAGE_COLUMNS)
    raise DataError(
        f"{path} has no column of image bytes: name it one of {known}, or give --image-column NAME"
    )


def image_expression(columns: Sequence[tuple[str, Any]], named: str = "") -> str:
    """Return how SQL reads the image bytes out of these (name, type) columns; empty if not."""
    wanted = (named.lower(),) if named else _IMAGE_COLUMNS
    for name, kind in columns:
        if name.lower() not in wanted:
            continue
        quoted = '"' + name.replace('"', '""') + '"'
        if kind == "BLOB":
            return quoted
        if kind.id == "struct" and dict(kind.children).get("bytes") == "BLOB":
            return f"{quoted}.bytes"
    return ""


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
    data, position = row[0], row[-1]
    uri = f"{path}#{position}"
    if data is None:
        return Item(uri, path, position, 0, error="no image bytes in this row")
    if len(data) > files.MAX_BYTES:
        return Item(uri, path, position, len(data), error=files.too_large(len(data)))
    pairs = zip(names[1:-1], row[1:-1], strict=True)
    metadata = {name: value for name, value in pairs if travels(value)}
    return Item(uri, path, position, len(data), data, metadata=metadata)

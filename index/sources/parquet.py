"""Source: Parquet files with an image column, as bytes or as struct{bytes, path}."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from index.catalog.rows import one
from index.errors import DataError
from index.sources import files
from index.sources.base import Item, Partition, fingerprint, partition_key

KIND = "parquet"
_ROWS_A_PARTITION = 512
_IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "image_bytes", "data")


def matches(path: Path) -> bool:
    """Accept *.parquet."""
    return path.suffix.lower() in (".parquet", ".pq")


def partitions(path: Path) -> Iterator[Partition]:
    """Cut a file into ranges of rows."""
    rows = _row_count(path)
    stamp = fingerprint(path)
    image = image_column(path)
    for start in range(0, rows, _ROWS_A_PARTITION):
        stop = min(start + _ROWS_A_PARTITION, rows)
        key = partition_key(KIND, stamp, start)
        yield Partition(key, KIND, str(path), (start, stop, image), stop - start)


def read(partition: Partition) -> Iterator[Item]:
    """Read a range of rows; every other column travels along as metadata."""
    start, stop, image = partition.entries
    path = partition.container
    with duckdb.connect() as connection:
        cursor = connection.execute(
            f"SELECT {image} AS kdcurate_image, * EXCLUDE (file_row_number), file_row_number "
            "FROM read_parquet(?, file_row_number = true) "
            "WHERE file_row_number >= ? AND file_row_number < ? ORDER BY file_row_number",
            [path, start, stop],
        )
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(64):
            for row in rows:
                yield _item(path, names, row)


def fetch(container: str, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Read rows again by number, in ascending order of position."""
    positions = [position for position, _ in places]
    image = image_column(Path(container))
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT file_row_number, {image} FROM read_parquet(?, file_row_number = true) "
            "WHERE file_row_number BETWEEN ? AND ?",
            [container, min(positions), max(positions)],
        ).fetchall()
    found = dict(rows)
    for position in positions:
        if position not in found:
            raise DataError(
                f"{container} has no row {position} any more: put the file back, "
                "or run build-index on the sources again"
            )
        yield found[position] or b""


def image_column(path: Path) -> str:
    """Return the SQL expression that yields a row's image bytes.

    Raises:
        DataError: the file is not Parquet, or has no column of image bytes.
    """
    for name, kind in _schema(path):
        if name.lower() not in _IMAGE_COLUMNS:
            continue
        quoted = '"' + name.replace('"', '""') + '"'
        if kind == "BLOB":
            return quoted
        if kind.startswith("STRUCT(") and "bytes BLOB" in kind.replace('"', ""):
            return f"{quoted}.bytes"
    known = ", ".join(_IMAGE_COLUMNS)
    raise DataError(f"{path} has no column of image bytes: name it one of {known}")


def _schema(path: Path) -> list[tuple[str, str]]:
    with duckdb.connect() as connection:
        try:
            rows = connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()
        except duckdb.Error as error:
            raise DataError(f"not a readable Parquet file: {path}; mend or remove it") from error
    return [(row[0], row[1]) for row in rows]


def _row_count(path: Path) -> int:
    with duckdb.connect() as connection:
        try:
            row = one(connection, "SELECT count(*) FROM read_parquet(?)", [str(path)])
        except duckdb.Error as error:
            raise DataError(f"not a readable Parquet file: {path}; mend or remove it") from error
    return int(row[0]) if row else 0


def _item(path: str, names: list[str], row: tuple[Any, ...]) -> Item:
    data, position = row[0], row[-1]
    uri = f"{path}#{position}"
    if data is None:
        return Item(uri, path, position, 0, error="no image bytes in this row")
    if len(data) > files.MAX_BYTES:
        return Item(uri, path, position, len(data), error="too large")
    pairs = zip(names[1:-1], row[1:-1], strict=True)
    metadata = {name: value for name, value in pairs if _travels(value)}
    return Item(uri, path, position, len(data), data, metadata=metadata)


def _travels(value: Any) -> bool:
    """Binary columns stay in the file: they are images or features, not facts about them."""
    if isinstance(value, dict):
        return all(_travels(part) for part in value.values())
    return value is not None and not isinstance(value, (bytes, bytearray))

"""Image files that a Parquet file names in place of bytes: struct{bytes: null, path}."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb

from index.errors import DataError
from index.quoting import identifier
from index.sources import files
from index.sources.places import NUMBERED, Place, is_url, tables

KIND = "files"  # they are read again as such, without the Parquet file

# The row, the path, size and modification time of its file, and why it may not be read, if so.
Referenced = tuple[int, str, int, int | str, str]


def referenced(path: Place, column: str) -> list[Referenced]:
    """Return the rows of a struct column that have a path and no bytes, with what the path names.

    Bytes are not read for it where the file's own statistics say that none are missing.

    Raises:
        DataError: the file is damaged.
    """
    with tables(path) as (connection, file):
        try:
            bytes_name = f"{column.lower()}, bytes"
            (missing,) = connection.execute(
                "SELECT count(*) FROM parquet_metadata(?) WHERE lower(path_in_schema) = ? "
                "AND coalesce(stats_null_count, 1) > 0",
                [file, bytes_name],
            ).fetchall()[0]
            if not missing:
                return []
            quoted = identifier(column)
            rows = connection.execute(
                f"SELECT file_row_number, {quoted}.path FROM {NUMBERED} "
                f"WHERE {quoted}.bytes IS NULL AND trim({quoted}.path) <> '' "
                "ORDER BY file_row_number",
                [file],
            ).fetchall()
        except duckdb.Error as error:
            raise DataError(f"not a readable Parquet file: {path}; mend or remove it") from error
    return list(_listed(path, rows))


def _listed(path: Place, rows: list[tuple[int, str]]) -> Iterator[Referenced]:
    for row, name in rows:
        where = _below(path, name.strip())
        if where is None:
            yield row, f"{path}#{row}", 0, 0, _OUTSIDE
        else:
            yield row, *files.listed(where), ""


_OUTSIDE = (
    "no image bytes in this row, and its path leads out of the folder of the Parquet file: "
    "write the paths into a list (.csv) to read them"
)


def _below(path: Place, name: str) -> Path | None:
    """A Parquet file comes from a crawl, and a path in it may name any file of this machine.

    A list of paths is what a person writes, and may name what lies elsewhere.
    """
    if not isinstance(path, Path) or is_url(name) or "\0" in name:
        return None
    folder = os.path.abspath(path.parent)
    where = os.path.normpath(os.path.join(folder, name))
    real = os.path.realpath(where)  # a link in the folder may lead out of it
    inside = _lies_in(folder, where) and _lies_in(os.path.realpath(folder), real)
    return Path(where) if inside else None


def _lies_in(folder: str, where: str) -> bool:
    return where.startswith(folder.rstrip(os.sep) + os.sep)

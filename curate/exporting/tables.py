"""Formats of one row or line an image: Parquet, CSV, JSON lines, and plain text."""

from __future__ import annotations

from pathlib import Path

from curate.exporting.base import COLUMNS, Export
from curate.tables import connect, one_row, rows_of
from index.catalog import literal
from index.errors import UsageError


def write_parquet(export: Export, path: Path) -> None:
    """Write a table of facts; `path` is where an image is a file of its own."""
    _copy(export, path, "FORMAT parquet")


def write_csv(export: Export, path: Path) -> None:
    """Write CSV with a header; what holds a comma, quote or line break is quoted."""
    _copy(export, path, "FORMAT csv, HEADER true")


def write_jsonl(export: Export, path: Path) -> None:
    """Write one JSON object a line; metadata is JSON in it, not text."""
    _copy(export, path, "FORMAT json")


def write_txt(export: Export, path: Path) -> None:
    """Write one path a line, or the uri where an image is no file of its own.

    Raises:
        UsageError: a name holds a line break, which a line cannot.
    """
    with (
        connect(export.scratch) as connection,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        broken = one_row(connection, _BROKEN.format(table=export.table))
        if broken["names"]:
            raise UsageError(
                f"{broken['names']:,} names hold line breaks, as that of image "
                f"{broken['image_id']}: export csv or jsonl"
            )
        query = f"SELECT coalesce(path, uri) AS line FROM {export.table} ORDER BY rank"
        file.writelines(f"{row['line']}\n" for row in rows_of(connection, query))


def _copy(export: Export, path: Path, form: str) -> None:
    with connect(export.scratch) as connection:
        query = f"SELECT {COLUMNS} FROM {export.table} ORDER BY rank"
        connection.execute(f"COPY ({query}) TO {literal(path)} ({form})")


_BROKEN = r"""
SELECT count(*) AS names, min(image_id) AS image_id FROM {table}
WHERE regexp_matches(coalesce(path, uri), '[\r\n]')
"""

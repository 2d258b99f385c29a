"""Tables beside the catalog: DuckDB in bounded memory, and rows a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from index import database
from index.catalog import MEMORY_LIMIT

# SQL of aggregates that tell which images a relation holds. Their ids are as of hashes: of no two
# sets are number, parity and sum the same.
WHICH_IMAGES = "count(*), bit_xor(image_id), sum(image_id)"
_ROWS_AT_ONCE = 1024


def connect(folder: Path, memory: str = MEMORY_LIMIT) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB of its own, which keeps to so much memory and spills into `folder`."""
    return database.connect(memory_limit=memory, temp_directory=str(folder))


def rows_of(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query by the names of their columns; to be read to the end."""
    cursor = connection.execute(query, list(parameters))
    names = [column[0] for column in cursor.description]
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def one_row(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> dict[str, Any]:
    """Return the only row of a query by the names of its columns."""
    (row,) = rows_of(connection, query, parameters)
    return row

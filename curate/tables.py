"""Rows of a query, a bounded number of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

_ROWS_AT_ONCE = 1024


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

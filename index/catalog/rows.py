"""Columns of NumPy arrays into DuckDB tables, without a row in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import numpy as np

Columns = Mapping[str, Any]
_INCOMING = "kdcurate_incoming"


def insert(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Columns,
    *,
    replace_on: Sequence[str] = (),
) -> None:
    """Insert equally long columns (arrays, lists, or one scalar for all) into `table`.

    Rows of `table` that agree with an incoming row on all of `replace_on` are deleted first.
    """
    length = max((len(c) for c in columns.values() if not _is_scalar(c)), default=1)
    if length == 0:
        return
    arrays = {name: _array(column, length) for name, column in columns.items()}
    connection.register(_INCOMING, arrays)
    try:
        if replace_on:
            same = " AND ".join(f't."{key}" = i."{key}"' for key in replace_on)
            connection.execute(f"DELETE FROM {table} t USING {_INCOMING} i WHERE {same}")
        names = ", ".join(f'"{name}"' for name in arrays)
        connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {_INCOMING}")
    finally:
        # After an error the transaction is over, and DuckDB would say that instead.
        with suppress(duckdb.Error):
            connection.unregister(_INCOMING)


def _is_scalar(column: Any) -> bool:
    return isinstance(column, (str, bytes)) or not hasattr(column, "__len__")


def _array(column: Any, length: int) -> Any:
    if _is_scalar(column):
        column = [column] * length
    if isinstance(column, np.ndarray):
        return column
    numeric = all(isinstance(value, (int, float)) for value in column)
    return np.array(column) if numeric else _objects(column)


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def one(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> tuple[Any, ...] | None:
    """Return the first row of a query or None, and end its result.

    DuckDB refuses the next statement on a connection whose last result was not read to its end.
    """
    rows = connection.execute(query, list(parameters)).fetchall()
    return rows[0] if rows else None

"""Opening DuckDB: the one place that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb


def connect(
    path: Path | str = ":memory:", *, read_only: bool = False, **config: Any
) -> duckdb.DuckDBPyConnection:
    """Open a database, without the progress bar that DuckDB draws on stdout after two seconds.

    A command's stdout is data: a worker's slow query would draw it there, before the JSON. DuckDB
    draws it where it takes Python for interactive, as in a process without a script of its own.

    Args:
        path: of the file; without one, the database is in memory.
        read_only: whether others may read it at the same time, and nobody write.
        config: options of DuckDB's, such as `memory_limit`.

    Raises:
        duckdb.Error: it cannot be opened.
    """
    connection = duckdb.connect(path, read_only=read_only, config=config)
    connection.execute("SET enable_progress_bar = false")  # no option of `config`
    return connection

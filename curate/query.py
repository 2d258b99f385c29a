"""SQL over the catalog: read-only, and closed to every other file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from index.catalog import Catalog, literal
from index.errors import UsageError, WorkspaceError


@contextmanager
def sandbox(catalog: Catalog, output: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog read-only, with no access to files but `output`, and no way back.

    Raises:
        UsageError: DuckDB's message, in one line, for a query that fails.
    """
    with catalog.read() as connection:
        if output is not None:
            connection.execute(f"SET allowed_paths = [{literal(output.absolute())}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            yield connection
        except duckdb.Error as error:
            raise UsageError("SQL: " + " ".join(str(error).split())) from error


def distinct(columns: list[str]) -> list[str]:
    """Number the columns whose name came before, as `a`, `a_2`: none may hide another."""
    found: list[str] = []
    for column in columns:
        name, count = column, 1
        while name in found:
            count += 1
            name = f"{column}_{count}"
        found.append(name)
    return found


def write_parquet(catalog: Catalog, query: str, output: Path) -> None:
    """Write a query's result to a Parquet file, whole or not at all.

    Raises:
        UsageError: as `sandbox`, or there is no such folder.
    """
    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: make its folder first")
    partial = output.with_name(f".{output.name}.tmp")
    target = literal(partial.absolute())
    try:
        with sandbox(catalog, partial) as connection:
            statement = query.strip().rstrip(";")
            connection.execute(f"COPY ({statement}\n) TO {target} (FORMAT parquet)")
        partial.replace(output)
    except OSError as error:
        raise WorkspaceError(f"cannot write {output}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def schema(catalog: Catalog) -> list[dict[str, str | None]]:
    """List every table and view with its columns and comments."""
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT r.name, r.kind, r.comment, c.column_name, c.data_type, c.comment FROM ("
            "  SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables()"
            "  UNION ALL SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal"
            ") r JOIN duckdb_columns() c ON c.table_name = r.name "
            "ORDER BY r.kind, r.name, c.column_index"
        ).fetchall()
    names = ("relation", "kind", "relation_comment", "column", "type", "comment")
    return [dict(zip(names, row, strict=True)) for row in rows]

"""SQL over the catalog: read-only, closed to every other file, bounded in memory, disk and time."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from index.catalog import MEMORY_LIMIT, Catalog, literal
from index.errors import QueryLimitError, UsageError, WorkspaceError
from index.files import check_target

_ROWS_A_BATCH = 2000
_NO_COLUMN = re.compile(r'column (?:named )?"(\w+)"')
# All images of a manifest have the same.
_COMPONENTS = """
SELECT DISTINCT unnest(map_keys(components))
FROM (SELECT any_value(components) AS components FROM ledger GROUP BY manifest)
"""
_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True)
class Result:
    """What a query answers: its columns, and its rows in batches that are read once."""

    columns: list[str]
    batches: Iterator[list[tuple[Any, ...]]]


def check_timeout(seconds: float | None, option: str) -> None:
    """Check how long a query may take.

    Raises:
        UsageError: no number of seconds; the message names the option.
    """
    if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
        most = f"at most {threading.TIMEOUT_MAX:.0f}"
        raise UsageError(f"{option} is {seconds:g}: give seconds above 0 and {most}")


@contextmanager
def sandbox(
    catalog: Catalog,
    output: Path | None = None,
    timeout_s: float | None = None,
    *,
    what: str = "SQL",
    option: str = "--timeout",
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog read-only, with no access to files but `output`, and no way back.

    What does not fit into memory waits in catalog.duckdb.tmp, in at most half of the free disk.
    Messages begin with `what` was asked, and name the `option` that gives it more time.

    Raises:
        UsageError: DuckDB's message, in one line, for a query that fails.
        QueryLimitError: it takes more memory or disk than it may, or longer than `timeout_s`.
    """
    spill = shutil.disk_usage(catalog.workspace).free // 2 if catalog.exists() else 0
    with catalog.read(alone=True) as connection:
        if output is not None:
            connection.execute(f"SET allowed_paths = [{literal(output.absolute())}]")
        connection.execute(f"SET max_temp_directory_size = '{spill} bytes'")
        connection.execute("SET TimeZone = 'UTC'")  # the same text on every machine
        # Or the name of a variable of this program would be a table.
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            with _stopped_after(connection, timeout_s):
                yield connection
        except duckdb.InterruptException as error:
            if timeout_s is None:
                raise QueryLimitError(f"{what}: interrupted") from error
            raise QueryLimitError(
                f"{what}: stopped after {timeout_s:g} s: give {option} more, or ask for less"
            ) from error
        except duckdb.OutOfMemoryException as error:
            limit = f"{MEMORY_LIMIT} of memory"
            if "max_temp_directory_size" in str(error):
                limit = f"half of the free disk, {spill / 1e9:.1f} GB, beside its memory"
            raise QueryLimitError(
                f"{what}: the query needs more than {limit}: aggregate, filter, or name fewer "
                "columns"
            ) from error
        except duckdb.Error as error:
            raise UsageError(f"{what}: {_in_a_line(error)}{_hint(connection, error)}") from error


def _in_a_line(error: duckdb.Error) -> str:
    """Say what DuckDB says; of its drawing of where, at the end, no more than the line."""
    drawn = re.search(r"\n\s*LINE (\d+):[^\n]*\n\s*\^+\s*\Z", str(error))
    if drawn is None:
        return " ".join(str(error).split())
    where = f" (line {drawn[1]})" if int(drawn[1]) > 1 else ""
    return " ".join(str(error)[: drawn.start()].split()) + where


def _hint(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> str:
    """What looks like a missing column may be a component of the ledger."""
    missing = _NO_COLUMN.search(str(error))
    if missing is None:
        return ""
    with suppress(duckdb.Error):
        if (missing[1],) in connection.execute(_COMPONENTS).fetchall():
            return f"; {missing[1]} is components['{missing[1]}'] in decisions, selected, rejected"
    return ""


def run_query(connection: duckdb.DuckDBPyConnection, text: str) -> Result:
    """Run one query; its rows are computed as they are asked for.

    Raises:
        UsageError: it is not exactly one statement that reads.
    """
    cursor: Any = connection.execute(_one_statement(text))
    columns = distinct([column[0] for column in cursor.description])
    return Result(columns, iter(lambda: cursor.fetchmany(_ROWS_A_BATCH), []))


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


def write_parquet(
    catalog: Catalog, query: str, output: Path, timeout_s: float | None = None
) -> None:
    """Write a query's result to a Parquet file, whole or not at all.

    Raises:
        UsageError: as `sandbox` and `run_query`, no file can be there, or it is the catalog.
        QueryLimitError: as `sandbox`.
    """
    check_target(output, makes_folder=False)
    if output.resolve() == catalog.path.resolve():
        raise UsageError(f"cannot write {output}: it is the catalog itself")
    partial = output.with_name(f".{output.name}.tmp")
    target = literal(partial.absolute())
    try:
        with sandbox(catalog, partial, timeout_s) as connection:
            statement = _one_statement(query).strip().rstrip(";")
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


def _one_statement(text: str) -> str:
    """Return the text where it is one statement that only reads."""
    statements = duckdb.extract_statements(text)
    if not statements:
        raise UsageError("SQL: there is no query in it")
    if len(statements) > 1:
        raise UsageError(f"SQL: these are {len(statements)} statements: give one query")
    if statements[0].type not in _READING:
        kind = statements[0].type.name
        raise UsageError(f"SQL: this is a statement of kind {kind}: only a SELECT can be run here")
    return text


@contextmanager
def _stopped_after(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Interrupt what the connection does after so many seconds, or when a signal comes.

    None lets it take its time. Python's own handler of Ctrl-C waits until DuckDB returns, and that
    may be for ever: the byte that the signal writes does not.
    """
    ours, signals = socket.socketpair()
    done = threading.Event()

    def watch() -> None:
        ours.settimeout(seconds)
        with suppress(TimeoutError):
            ours.recv(1)
        # Again and again: DuckDB forgets an interruption between two statements.
        while not done.wait(0.05):
            connection.interrupt()

    watcher = threading.Thread(target=watch, name="sql timeout", daemon=True)
    watcher.start()
    try:
        with _signals_written_to(signals):
            yield
    finally:
        done.set()
        signals.close()
        watcher.join()
        ours.close()


@contextmanager
def _signals_written_to(writer: socket.socket) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one has signals
        yield
        return
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
